// A request that is refused: what the client reads of it.
#pragma once

#include <map>
#include <string>

#include "resflow/core/json.h"

namespace resflow::server {

struct HttpError {
  int status = 400;
  std::string code;  // a word for programs: bad_option, not_found, queue_full, ...
  std::string message, hint;
  std::map<std::string, std::string> headers = {};
};

// {"error": {"code", "message", "hint"}}.
Json error_json(const std::string& code, const std::string& message, const std::string& hint = "");

// "not_found" of 404; of a status without a word of its own "error".
std::string code_of_status(int status);

}  // namespace resflow::server
