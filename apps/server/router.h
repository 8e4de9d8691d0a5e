// Which route a request takes, and what each failure becomes.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "server/access.h"
#include "server/exchange.h"
#include "server/http_error.h"
#include "server/listener.h"

namespace resflow::server {

struct Route {
  std::string method, path;  // GET, "/v1/jobs/{id}"
  Json operation;            // its OpenAPI operation, but for the path's parameters
  std::function<void(const Exchange&)> handle;
  bool open = false;  // needs no key
  // What a failure's body looks like; by default the native one.
  std::function<Json(const HttpError&)> failure = nullptr;
};

class Router {
 public:
  Router(JobService& jobs, const Access& access, std::vector<Route> routes, std::function<void(const Exchange&)> otherwise);

  const std::vector<Route>& routes() const { return routes_; }
  // Puts all requests of the listener through here.
  void attach(Listener& listener);

 private:
  struct Found {
    const Route* route = nullptr;
    std::map<std::string, std::string> parts;
    std::string allowed;  // methods of the path, where only the method does not fit
  };
  Found find(const std::string& method, const std::string& path) const;
  // Before the body: who asks, from where, how much. false: the reply stands.
  bool admit(const httplib::Request& request, httplib::Response& response) const;
  void serve(const httplib::Request& request, httplib::Response& response, const httplib::ContentReader* content) const;
  void guard(const httplib::Request& request, httplib::Response& response, const Route* route, const std::function<void()>& work) const;

  JobService& jobs_;
  const Access& access_;
  std::vector<Route> routes_;
  std::function<void(const Exchange&)> otherwise_;  // what no route matches, of GET
};

}  // namespace resflow::server
