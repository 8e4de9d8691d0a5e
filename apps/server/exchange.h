// A request and its reply, as a route sees them.
#pragma once

#include <httplib.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "resflow/core/json.h"
#include "server/job_service.h"

namespace resflow::server {

// What a multipart form held.
struct Form {
  std::vector<std::unique_ptr<ReceivedFile>> files;
  std::map<std::string, std::string> fields;  // valid UTF-8; of a field given twice the last

  // The one picture, in the field `image` or `image[]`, and the mask, if any. Throws UserError: none, several.
  const ReceivedFile& picture() const;
  const ReceivedFile* mask() const;
};

struct Exchange {
  const httplib::Request& request;
  httplib::Response& response;
  const httplib::ContentReader* content;     // null where the method has no body
  std::map<std::string, std::string> parts;  // of the path: {"id", ...}
  int64_t max_body;

  // A parameter of the query, "" where it is not there.
  std::string parameter(const std::string& name) const;

  // The parts of a multipart body whose field is one of `file_fields` become files; it is read as it comes, never whole into memory. Throws
  // HttpError: no multipart, malformed, too large, too slow.
  Form form(const JobFiles& files, const std::set<std::string>& file_fields) const;
  // A JSON object of at most so many bytes. Throws HttpError.
  Json json_body(int64_t most) const;

  void reply(const Json& json, int status = 200) const;
  // Sends a file piece by piece, the range that was asked for. download: to be saved; otherwise to be shown.
  void send(const SentFile& file, bool download) const;
};

// JSON as text, whatever bytes are in it.
std::string text_of(const Json& json);
// Text with what is no UTF-8 replaced.
std::string valid_utf8(const std::string& text);

}  // namespace resflow::server
