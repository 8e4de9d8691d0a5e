#include "server/router.h"

#include <SQLiteCpp/Exception.h>
#include <fmt/format.h>

#include <charconv>

#include "resflow/core/error.h"
#include "resflow/core/log.h"

namespace resflow::server {
namespace {

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> out;
  for (size_t at = 1; at <= path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    out.push_back(path.substr(at, slash - at));
    at = slash + 1;
  }
  return out;
}

// Parts of "/v1/jobs/{id}" in a path; nothing where it is another.
std::optional<std::map<std::string, std::string>> match(std::string_view pattern, std::string_view path) {
  const auto wanted = split(pattern), given = split(path);
  if (wanted.size() != given.size()) return std::nullopt;
  std::map<std::string, std::string> parts;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i].starts_with('{')) {
      if (given[i].empty()) return std::nullopt;
      parts[std::string(wanted[i].substr(1, wanted[i].size() - 2))] = valid_utf8(std::string(given[i]));
    } else if (wanted[i] != given[i]) {
      return std::nullopt;
    }
  }
  return parts;
}

// -1: not told. Throws HttpError where it is no number or told twice.
int64_t announced_length(const httplib::Request& request) {
  const auto count = request.get_header_value_count("Content-Length");
  if (count == 0) return -1;
  const std::string text = request.get_header_value("Content-Length");
  int64_t length = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (count > 1 || error != std::errc() || end != text.data() + text.size() || length < 0)
    throw HttpError{.status = 400, .code = "bad_request", .message = "Content-Length is no number", .hint = ""};
  return length;
}

}  // namespace

Router::Router(JobService& jobs, const Access& access, std::vector<Route> routes, std::function<void(const Exchange&)> otherwise)
    : jobs_(jobs), access_(access), routes_(std::move(routes)), otherwise_(std::move(otherwise)) {}

Router::Found Router::find(const std::string& method, const std::string& path) const {
  Found found;
  for (const auto& route : routes_) {
    auto parts = match(route.path, path);
    if (!parts) continue;
    if (route.method == method || (method == "HEAD" && route.method == "GET")) return {.route = &route, .parts = std::move(*parts)};
    found.allowed += (found.allowed.empty() ? "" : ", ") + route.method;
  }
  return found;
}

void Router::guard(const httplib::Request& request, httplib::Response& response, const Route* route, const std::function<void()>& work) const {
  const auto fail = [&](const HttpError& error) {
    response.status = error.status;
    for (const auto& [name, value] : error.headers) response.set_header(name, value);
    response.set_content(text_of(route != nullptr && route->failure ? route->failure(error) : error_json(error.code, error.message, error.hint)),
                         "application/json");
  };
  const auto unavailable = [&](const std::exception& error) {
    log_warn(request.method + " " + request.path + ": " + error.what());
    fail({.status = 503, .code = "unavailable", .message = "the server cannot store anything now", .hint = "Try again later"});
  };
  try {
    work();
  } catch (const HttpError& error) {
    fail(error);
  } catch (const UserError& error) {
    fail({.status = 400, .code = "bad_option", .message = error.what(), .hint = ""});
  } catch (const std::filesystem::filesystem_error& error) {
    unavailable(error);
  } catch (const SQLite::Exception& error) {
    unavailable(error);
  } catch (const std::exception& error) {
    log_warn(request.method + " " + request.path + ": " + readable_message(error));
    fail({.status = 500, .code = "bug", .message = "something went wrong in the server", .hint = ""});
  }
}

bool Router::admit(const httplib::Request& request, httplib::Response& response) const {
  const auto found = find(request.method, request.path);
  auto& connection = *Connection::current();
  if (found.route != nullptr) connection.route = found.route->path;
  bool admitted = false;
  const bool chunked = request.has_header("Transfer-Encoding");
  guard(request, response, found.route, [&] {
    const int64_t most = jobs_.options().max_body;
    connection.begin_body(most + (1 << 16), -1, chunked);
    const int64_t length = announced_length(request);
    connection.begin_body(most + (1 << 16), length, chunked);
    access_.check_origin(request);
    access_.allow_origin(request, response);
    if (request.method == "OPTIONS") return;
    if (found.route != nullptr && !found.route->open) access_.check_key(request);
    if (request.path.find('\0') != std::string::npos) throw HttpError{.status = 400, .code = "bad_request", .message = "a bad path", .hint = ""};
    if (length > most)
      throw HttpError{
          .status = 413, .code = "too_large", .message = fmt::format("the request is larger than {} bytes", most), .hint = "Send a smaller picture"};
    if (chunked && length >= 0) throw HttpError{.status = 400, .code = "bad_request", .message = "Content-Length with Transfer-Encoding", .hint = ""};
    if (request.has_header("Content-Encoding"))
      throw HttpError{
          .status = 415, .code = "unsupported", .message = "compressed requests are not read", .hint = "Send it without Content-Encoding"};
    if (found.route == nullptr && !found.allowed.empty())
      throw HttpError{.status = 405,
                      .code = "method_not_allowed",
                      .message = request.method + " is not for this address",
                      .hint = "",
                      .headers = {{"Allow", found.allowed}}};
    admitted = true;
  });
  if (request.method == "OPTIONS" && response.status == -1) {
    response.status = 204;
    if (!found.allowed.empty()) response.set_header("Allow", found.allowed);
  }
  return admitted;
}

void Router::serve(const httplib::Request& request, httplib::Response& response, const httplib::ContentReader* content) const {
  auto found = find(request.method, request.path);
  guard(request, response, found.route, [&] {
    const Exchange exchange{
        .request = request, .response = response, .content = content, .parts = std::move(found.parts), .max_body = jobs_.options().max_body};
    if (found.route != nullptr) {
      found.route->handle(exchange);
    } else if (content == nullptr) {
      otherwise_(exchange);
    } else {
      throw HttpError{.status = 404, .code = "not_found", .message = "there is nothing at this address", .hint = "See /openapi.json"};
    }
  });
}

void Router::attach(Listener& listener) {
  using Response = httplib::Server::HandlerResponse;
  listener.set_default_headers({{"X-Content-Type-Options", "nosniff"},
                                {"Cross-Origin-Resource-Policy", "same-origin"},
                                {"Referrer-Policy", "no-referrer"},
                                {"X-Frame-Options", "DENY"},
                                {"Cache-Control", "no-store"}});
  listener.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
    return admit(request, response) ? Response::Unhandled : Response::Handled;
  });
  // Before a client is told to go on with a large body.
  listener.set_expect_100_continue_handler(
      [this](const httplib::Request& request, httplib::Response& response) { return admit(request, response) ? 100 : response.status; });
  const auto without_body = [this](const httplib::Request& request, httplib::Response& response) { serve(request, response, nullptr); };
  const auto with_body = [this](const httplib::Request& request, httplib::Response& response, const httplib::ContentReader& content) {
    serve(request, response, &content);
  };
  listener.Get(".*", without_body).Post(".*", with_body).Put(".*", with_body).Patch(".*", with_body).Delete(".*", with_body);
  // What the library itself refuses: a request line that is none, too long an address.
  const httplib::Server::HandlerWithResponse unreadable = [this](const httplib::Request& request, httplib::Response& response) {
    if (!response.body.empty()) return Response::Unhandled;
    // A method that the library does not know is read as far as the address.
    const auto found = find(request.method, request.target.substr(0, request.target.find('?')));
    if (response.status == 400 && !found.allowed.empty()) {
      response.status = 405;
      response.set_header("Allow", found.allowed);
    }
    response.set_content(text_of(error_json(code_of_status(response.status), "the request cannot be read")), "application/json");
    return Response::Handled;
  };
  listener.set_error_handler(unreadable);
  listener.set_logger([this](const httplib::Request& request, const httplib::Response& response) {
    auto* connection = Connection::current();
    jobs_.metrics().request(connection != nullptr ? connection->route : "other", response.status);
    log_debug(fmt::format("{} {} {}", request.method, request.path, response.status));
  });
}

}  // namespace resflow::server
