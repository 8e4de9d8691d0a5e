// Addresses.
#pragma once

#include <optional>
#include <string>

namespace resflow::download {

struct Url {
  std::string scheme, host;  // "https", "huggingface.co"
  int port = 443;
  std::string path;  // with the query; begins with a slash

  std::string origin() const;  // "https://huggingface.co:443"
  bool local() const;          // this machine: 127.0.0.1, localhost
};

// Throws UserError for anything but http://HOST[:PORT]/PATH and https://; a name and password in it are refused.
Url parse_url(const std::string& text);
// Where a reply's Location leads: an address, or a path of the same host.
Url follow(const Url& from, const std::string& location);

struct Proxy {
  std::string host;
  int port = 80;
  std::string user, password;
};

// What the environment says about reaching it: https_proxy, http_proxy or all_proxy, in either spelling. nullopt where none is set, where no_proxy
// names the host or a domain above it, and for this machine. Throws UserError for a proxy of another kind than http://[USER:PASSWORD@]HOST[:PORT].
std::optional<Proxy> proxy_for(const Url& url);

}  // namespace resflow::download
