// A GET over HTTP or HTTPS, redirects followed. Internal to download/.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace resflow::download {

struct Reply {
  int status = 0;               // 0: no reply
  std::string error;            // why not, or why the body ended early
  std::string content_range;    // of 206
  int64_t content_length = -1;  // -1: not said
  bool complete = false;        // the whole body came
};

struct Request {
  std::string url, token;
  int64_t from = 0;  // the first byte that is wanted
  // Asked once the last reply's head is there (of 200 and 206); false ends it.
  std::function<bool(const Reply&)> on_head;
  std::function<bool(const char* bytes, size_t count)> on_bytes;  // of 200 and 206; false ends it
};

// At most 5 redirects, never from https to http; the token goes to the first host alone. Throws UserError for an address that is none.
Reply get(const Request& request);

}  // namespace resflow::download
