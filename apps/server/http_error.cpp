#include "server/http_error.h"

namespace resflow::server {

Json error_json(const std::string& code, const std::string& message, const std::string& hint) {
  return {{"error", {{"code", code}, {"message", message}, {"hint", hint}}}};
}

std::string code_of_status(int status) {
  switch (status) {
    case 400:
      return "bad_request";
    case 401:
      return "wrong_key";
    case 403:
      return "forbidden";
    case 404:
      return "not_found";
    case 405:
      return "method_not_allowed";
    case 409:
      return "conflict";
    case 413:
      return "too_large";
    case 414:
      return "too_long";
    case 415:
      return "unsupported";
    case 416:
      return "bad_range";
    case 429:
      return "queue_full";
    case 503:
      return "unavailable";
    default:
      return status >= 500 ? "bug" : "error";
  }
}

}  // namespace resflow::server
