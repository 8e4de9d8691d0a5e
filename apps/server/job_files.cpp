#include "server/job_files.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "resflow/core/error.h"
#include "resflow/core/files.h"

namespace resflow::server {
namespace fs = std::filesystem;

JobFiles::JobFiles(fs::path data) : data_(std::move(data)) {
  create_folder(data_ / "jobs");
  create_folder(data_ / "uploads");
  std::error_code ignored;  // of a file system without rights
  fs::permissions(data_, fs::perms::owner_all, ignored);
}

fs::path JobFiles::source(const JobRecord& job) const { return folder(job.id) / ("source" + extension_of_format(job.source.value("format", ""))); }

fs::path JobFiles::result(const JobRecord& job) const {
  return folder(job.id) / ("result" + extension_of_format(job.options.at("files").value("format", "png")));
}

fs::path JobFiles::shown(const std::string& id, const std::string& what, const std::string& extension) const {
  return folder(id) / (what + "-shown" + extension);
}

fs::path JobFiles::new_upload() const { return data_ / "uploads" / new_job_id(); }

void JobFiles::remove(const std::string& id) const {
  if (!is_job_id(id)) return;
  std::error_code ignored;  // what stays is removed at the next start
  fs::remove_all(folder(id), ignored);
}

void JobFiles::remove_leftovers(const std::vector<std::string>& known) const {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(data_ / "uploads", ignored)) fs::remove_all(entry.path(), ignored);
  const std::set<std::string> ids(known.begin(), known.end());
  for (const auto& entry : fs::directory_iterator(data_ / "jobs", ignored)) {
    if (!ids.contains(entry.path().filename().string())) {
      fs::remove_all(entry.path(), ignored);
      continue;
    }
    for (const auto& inside : fs::directory_iterator(entry.path(), ignored))
      if (inside.path().filename().string().starts_with('.')) fs::remove_all(inside.path(), ignored);
  }
}

fs::path default_data_folder() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/') return fs::path(state) / "resflow";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') return fs::path(home) / ".local" / "state" / "resflow";
  throw_user_error({.where = "--data", .problem = "there is no home folder", .hint = "Name a folder with --data"});
}

std::string extension_of_format(const std::string& format) { return format == "tiff" ? ".tif" : format.empty() ? "" : "." + format; }

std::string safe_name(const std::string& name) {
  std::string out;
  for (const char c : name.substr(name.find_last_of("/\\") == std::string::npos ? 0 : name.find_last_of("/\\") + 1))
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) out += c;
  if (out.size() > 200) {
    size_t cut = 200;
    while (cut > 0 && (static_cast<unsigned char>(out[cut]) & 0xc0) == 0x80) --cut;  // not within a character
    out.resize(cut);
  }
  // What is no UTF-8 would break every list of jobs that holds it.
  out = Json::parse(Json(out).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
  return out.empty() ? "picture" : out;
}

}  // namespace resflow::server
