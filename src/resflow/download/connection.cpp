#include "resflow/download/connection.h"

#include <fmt/format.h>
#include <httplib.h>

#include "resflow/download/url.h"

namespace resflow::download {
namespace {

constexpr int kMostRedirects = 5;
constexpr time_t kSeconds = 60;  // without a byte

bool is_redirect(int status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }

httplib::Client client_for(const Url& url) {
  httplib::Client client(url.origin());
  client.set_connection_timeout(kSeconds / 2);
  client.set_read_timeout(kSeconds);
  client.set_decompress(false);
  client.set_follow_location(false);  // httplib would send the token along
  if (const auto proxy = proxy_for(url)) {
    client.set_proxy(proxy->host, proxy->port);
    if (!proxy->user.empty()) client.set_proxy_basic_auth(proxy->user, proxy->password);
  }
  return client;
}

httplib::Headers headers_for(const Request& request, const Url& url, const Url& first) {
  httplib::Headers headers = {{"User-Agent", "resflow/" RESFLOW_VERSION}, {"Accept-Encoding", "identity"}};
  if (request.from > 0) headers.emplace("Range", fmt::format("bytes={}-", request.from));
  const bool safe = url.scheme == "https" || url.local();
  if (!request.token.empty() && url.origin() == first.origin() && safe) headers.emplace("Authorization", "Bearer " + request.token);
  return headers;
}

}  // namespace

Reply get(const Request& request) {
  const Url first = parse_url(request.url);
  Url url = first;
  for (int redirects = 0;; ++redirects) {
    auto client = client_for(url);
    Reply reply;
    std::string location;
    const auto on_head = [&](const httplib::Response& head) {
      reply.status = head.status;
      reply.content_range = head.get_header_value("Content-Range");
      if (head.has_header("Content-Length")) reply.content_length = static_cast<int64_t>(head.get_header_value<uint64_t>("Content-Length"));
      location = head.get_header_value("Location");
      if (head.status != 200 && head.status != 206) return is_redirect(head.status);
      return !request.on_head || request.on_head(reply);
    };
    const auto on_bytes = [&](const char* bytes, size_t count) { return is_redirect(reply.status) || request.on_bytes(bytes, count); };
    const auto result = client.Get(url.path, headers_for(request, url, first), on_head, on_bytes);
    if (is_redirect(reply.status) && !location.empty()) {
      const Url next = follow(url, location);
      if (redirects == kMostRedirects) return {.status = reply.status, .error = "too many redirects"};
      if (url.scheme == "https" && next.scheme != "https") return {.status = reply.status, .error = "a redirect to an address without encryption"};
      url = next;
      continue;
    }
    reply.complete = static_cast<bool>(result);
    if (!result) reply.error = httplib::to_string(result.error());
    return reply;
  }
}

}  // namespace resflow::download
