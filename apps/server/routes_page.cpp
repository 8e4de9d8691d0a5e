// The web page: the files of web/.
#include <algorithm>

#include "resflow/core/data_path.h"
#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "server/routes.h"

namespace resflow::server {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void nothing_there(const std::string& hint) {
  throw HttpError{.status = 404, .code = "not_found", .message = "there is nothing at this address", .hint = hint};
}

bool plain(const std::string& name) {
  return !name.empty() && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'; });
}

}  // namespace

std::function<void(const Exchange&)> page_files() {
  fs::path root;
  try {
    root = fs::canonical(data_file("web/index.html")).parent_path();
  } catch (const UserError&) {  // built without the page: the API works all the same
  }
  return [root](const Exchange& exchange) {
    if (root.empty())
      nothing_there("the web page is not installed (web/ beside the program, or RESFLOW_DATA); the API is described at /openapi.json");
    const std::string path = exchange.request.path == "/" ? "/index.html" : exchange.request.path;
    fs::path file = root;
    for (const auto& part : fs::path(path).relative_path()) {
      if (!plain(part.string())) nothing_there("See /openapi.json");
      file /= part;
    }
    std::error_code error;
    const fs::path real = fs::canonical(file, error);  // where a link leads
    if (error || !fs::is_regular_file(real, error) || !real.string().starts_with(root.string() + "/")) nothing_there("See /openapi.json");
    exchange.response.set_header(
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; connect-src 'self'; "
        "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    exchange.response.headers.erase("Cache-Control");
    exchange.response.set_header("Cache-Control", "no-cache");
    exchange.response.set_content(read_text(real), mime_type(real.extension()));
  };
}

}  // namespace resflow::server
