#include "server/access.h"

#include <algorithm>
#include <cctype>

#include "resflow/core/base64.h"
#include "resflow/core/error.h"
#include "server/http_error.h"

namespace resflow::server {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// "localhost" of "localhost:8188", "[::1]" of "[::1]:8188".
std::string without_port(const std::string& host) {
  const auto colon = host.rfind(':');
  return colon == std::string::npos || host.find(']', colon) != std::string::npos ? host : host.substr(0, colon);
}

bool among(const std::string& name, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& known) { return lower(known) == name; });
}

// The secret of "Bearer KEY", or of "Basic base64(anyone:KEY)".
std::string shown_secret(const std::string& header) {
  if (header.starts_with("Bearer ")) return header.substr(7);
  if (!header.starts_with("Basic ")) return "";
  const std::string decoded = decode_base64(header.substr(6)).value_or("");
  const auto colon = decoded.find(':');
  return colon == std::string::npos ? "" : decoded.substr(colon + 1);
}

}  // namespace

bool is_loopback(const std::string& host) { return host == "localhost" || host == "::1" || host.starts_with("127."); }

bool same_secret(const std::string& given, const std::string& secret) {
  unsigned char differs = given.size() == secret.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i)
    differs |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(secret.empty() ? 0 : secret[i % secret.size()]);
  return differs == 0;
}

Access::Access(const ServeOptions& options) : options_(options), loopback_(is_loopback(options.host)) {
  if (!loopback_ && options.api_key.empty())
    throw_user_error({.where = "--host " + options.host,
                      .problem = "others can reach this address, and there is no API key",
                      .hint = "Set RESFLOW_API_KEY to a long secret, or listen on 127.0.0.1"});
}

void Access::check_origin(const httplib::Request& request) const {
  if (request.get_header_value_count("Host") != 1)
    throw HttpError{.status = 400, .code = "bad_host", .message = "wanted one Host header", .hint = ""};
  const std::string host = lower(request.get_header_value("Host")), name = without_port(host);
  // A foreign name that points here is how a web page gets at servers on its visitors' machines.
  if (loopback_ && name != "127.0.0.1" && name != "localhost" && name != "[::1]" && name != lower(options_.host) &&
      !among(name, options_.allowed_host))
    throw HttpError{.status = 403,
                    .code = "foreign_host",
                    .message = "this server is not known by that name",
                    .hint = "Behind a reverse proxy start it with --allowed-host NAME"};
  const bool reads = request.method == "GET" || request.method == "HEAD" || request.method == "OPTIONS";
  if (!reads && request.has_header("Origin") && !known_page(request.get_header_value("Origin"), host))
    throw HttpError{.status = 403,
                    .code = "foreign_origin",
                    .message = "another site's page may not change anything here",
                    .hint = "Allow it with --cors-origin"};
}

bool Access::known_page(const std::string& origin, const std::string& host) const {
  const auto slashes = origin.find("://");
  return (slashes != std::string::npos && lower(origin.substr(slashes + 3)) == host) || among(lower(origin), options_.cors_origin);
}

void Access::check_key(const httplib::Request& request) const {
  if (options_.api_key.empty() || same_secret(shown_secret(request.get_header_value("Authorization")), options_.api_key)) return;
  throw HttpError{.status = 401,
                  .code = "wrong_key",
                  .message = request.has_header("Authorization") ? "the API key is wrong" : "an API key is needed",
                  .hint = "Authorization: Bearer KEY",
                  .headers = {{"WWW-Authenticate", "Bearer"}}};
}

bool Access::allow_origin(const httplib::Request& request, httplib::Response& response) const {
  const std::string origin = request.get_header_value("Origin");
  if (origin.empty() || !among(lower(origin), options_.cors_origin)) return false;
  response.set_header("Access-Control-Allow-Origin", origin);
  response.set_header("Access-Control-Allow-Methods", "GET, POST, DELETE");
  response.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type");
  response.set_header("Access-Control-Expose-Headers", "Content-Disposition, Retry-After");
  response.set_header("Access-Control-Max-Age", "600");
  response.set_header("Vary", "Origin");
  return true;
}

}  // namespace resflow::server
