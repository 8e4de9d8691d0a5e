#include "resflow/restore/batch_log.h"

#include <sstream>

#include "resflow/core/error.h"
#include "resflow/core/files.h"

namespace resflow::restore {
namespace {

std::pair<std::string, std::string> name_of(const Json& entry) {
  return {entry.value("output", entry.value("input", "")), entry.value("finished", "")};
}

}  // namespace

BatchLog::BatchLog(std::filesystem::path path) : path_(std::move(path)) {
  if (std::filesystem::exists(path_)) {
    const std::string text = read_text(path_);
    const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
    std::istringstream lines(text.substr(0, whole));
    for (std::string line; std::getline(lines, line);) {
      const Json entry = Json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!entry.is_object()) throw_user_error({.where = path_.string(), .problem = "not a log of resflow", .hint = "Choose another --log"});
      there_.insert(name_of(entry));
    }
    if (whole < text.size()) std::filesystem::resize_file(path_, whole);
  }
  create_folder(path_.parent_path());
  out_.open(path_, std::ios::binary | std::ios::app);
  if (!out_) throw_user_error({.where = path_.string(), .problem = "the log cannot be written"});
}

void BatchLog::add(const Json& entry) {
  if (!there_.insert(name_of(entry)).second) return;
  out_ << entry.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n" << std::flush;
  if (!out_) throw_user_error({.where = path_.string(), .problem = "the log cannot be written"});
}

}  // namespace resflow::restore
