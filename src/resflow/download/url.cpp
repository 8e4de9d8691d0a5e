#include "resflow/download/url.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <regex>
#include <sstream>

#include "resflow/core/error.h"

namespace resflow::download {
namespace {

std::string variable(std::string name) {
  for (int upper = 0; upper < 2; ++upper) {
    if (const char* value = std::getenv(name.c_str()); value != nullptr && *value != '\0') return value;
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  }
  return "";
}

bool without_proxy(const std::string& host) {
  std::istringstream list(variable("no_proxy"));
  for (std::string item; std::getline(list, item, ',');) {
    std::erase(item, ' ');
    if (item == "*") return true;
    if (item.starts_with('.')) item.erase(0, 1);
    if (!item.empty() && (host == item || host.ends_with("." + item))) return true;
  }
  return false;
}

}  // namespace

std::string Url::origin() const { return fmt::format("{}://{}:{}", scheme, host, port); }
bool Url::local() const { return host == "127.0.0.1" || host == "localhost"; }

Url parse_url(const std::string& text) {
  static const std::regex pattern(R"((https?)://([A-Za-z0-9.-]+)(?::(\d{1,5}))?(/[^\s#]*)?(?:#.*)?)");
  std::smatch parts;
  if (!std::regex_match(text, parts, pattern))
    throw_user_error({.where = "pull", .problem = "not an address", .wanted = "https://HOST/PATH", .got = text});
  const bool secure = parts[1] == "https";
  return {.scheme = parts[1],
          .host = parts[2],
          .port = parts[3].matched ? std::stoi(parts[3])
                  : secure         ? 443
                                   : 80,
          .path = parts[4].matched ? parts[4].str() : "/"};
}

Url follow(const Url& from, const std::string& location) {
  if (location.starts_with("//")) return parse_url(from.scheme + ":" + location);
  if (!location.starts_with('/')) return parse_url(location);
  Url out = from;
  out.path = location;
  return out;
}

std::optional<Proxy> proxy_for(const Url& url) {
  if (url.local() || without_proxy(url.host)) return std::nullopt;
  std::string proxy = variable(url.scheme == "https" ? "https_proxy" : "http_proxy");
  if (proxy.empty()) proxy = variable("all_proxy");
  if (proxy.empty()) return std::nullopt;
  static const std::regex pattern(R"((?:http://)?(?:([^:@/]+)(?::([^@/]*))?@)?([A-Za-z0-9.-]+)(?::(\d{1,5}))?/?)");
  std::smatch parts;
  if (!std::regex_match(proxy, parts, pattern))
    throw_user_error({.where = "pull", .problem = "a proxy that is not used", .wanted = "http://[USER:PASSWORD@]HOST[:PORT] in https_proxy"});
  return Proxy{.host = parts[3], .port = parts[4].matched ? std::stoi(parts[4]) : 80, .user = parts[1], .password = parts[2]};
}

}  // namespace resflow::download
