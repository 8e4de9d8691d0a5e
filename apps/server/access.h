// Who may ask what: the key, the name the server is addressed by, and the page a browser's request comes from.
#pragma once

#include <httplib.h>

#include <string>

#include "server/options.h"

namespace resflow::server {

class Access {
 public:
  // Throws UserError where the address can be reached by others and there is no key.
  explicit Access(const ServeOptions& options);

  // Throws HttpError 400 (no or a foreign Host) or 403 (a change asked for by a foreign page).
  void check_origin(const httplib::Request& request) const;
  // Throws HttpError 401.
  void check_key(const httplib::Request& request) const;
  // Headers for pages that may use the API; true where the request's page is one of them.
  bool allow_origin(const httplib::Request& request, httplib::Response& response) const;

 private:
  bool known_page(const std::string& origin, const std::string& host) const;

  const ServeOptions& options_;
  bool loopback_;
};

bool is_loopback(const std::string& host);
// Takes the same time wherever the two differ.
bool same_secret(const std::string& given, const std::string& secret);

}  // namespace resflow::server
