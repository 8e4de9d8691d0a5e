#include "resflow/download/hub.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cstdlib>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/core/json.h"
#include "resflow/core/parse_json.h"
#include "resflow/weights/hub_cache.h"

namespace resflow::download {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string endpoint() {
  std::string out = variable("HF_ENDPOINT");
  while (out.ends_with('/')) out.pop_back();
  return out.empty() ? "https://huggingface.co" : out;
}

TransferOptions with_hint(TransferOptions options, const std::string& repository) {
  options.hint_where_forbidden =
      variable("HF_TOKEN").empty()
          ? fmt::format("If it is gated: accept its licence at {}/{}, and set HF_TOKEN to a token of yours", endpoint(), repository)
          : fmt::format("Has the owner of HF_TOKEN accepted its licence at {}/{}?", endpoint(), repository);
  return options;
}

// A name that stays within its folder.
bool is_safe(const std::string& name) {
  if (name.empty() || name.starts_with('/') || name.find('\\') != std::string::npos || name.find('\0') != std::string::npos) return false;
  for (const auto& part : fs::path(name))
    if (part == ".." || part == "." || part.empty()) return false;
  return true;
}

bool is_digest(const std::string& text, size_t length) {
  return text.size() == length && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

HubFile file_of(const Json& told, const std::string& url) {
  const auto bad = [&] {
    throw_user_error({.where = "pull", .problem = url + ": a reply that is not the hub's", .got = told.dump().substr(0, 200)});
  };
  if (!told.is_object() || !told.contains("rfilename") || !told["rfilename"].is_string()) bad();
  HubFile file{.name = told["rfilename"]};
  const auto text = [](const Json& of, const char* key) { return of.value(key, Json()).is_string() ? of[key].get<std::string>() : ""; };
  const Json lfs = told.value("lfs", Json());
  if (lfs.is_object())
    file.sha256 = text(lfs, "sha256");
  else
    file.git_blob = text(told, "blobId");
  const Json size = (lfs.is_object() ? lfs : told).value("size", Json());
  file.size = size.is_number_integer() ? size.get<int64_t>() : -1;
  if (!is_safe(file.name) || file.size < 0 || !(is_digest(file.sha256, 64) || is_digest(file.git_blob, 40))) bad();
  return file;
}

std::string escaped(const std::string& path) {
  std::string out;
  for (const unsigned char c : path)
    out += std::isalnum(c) != 0 || std::string_view("-_.~/").find(static_cast<char>(c)) != std::string_view::npos
               ? std::string(1, static_cast<char>(c))
               : fmt::format("%{:02X}", c);
  return out;
}

bool fits(const std::string& name, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const auto& pattern) { return fnmatch(pattern.c_str(), name.c_str(), 0) == 0; });
}

void link_to(const fs::path& blob, const fs::path& link) {
  create_folder(link.parent_path());
  std::error_code error;
  fs::remove(link, error);
  fs::create_symlink(fs::relative(blob, link.parent_path()), link, error);
  if (error) throw_user_error({.where = link.string(), .problem = "cannot be written: " + error.message()});
}

}  // namespace

HubListing list_hub(const std::string& name, const TransferOptions& options) {
  if (!weights::is_hub_name(name))
    throw_user_error({.where = "pull", .problem = "not a name of Hugging Face's", .wanted = "ORG/NAME or ORG/NAME@REVISION", .got = name});
  const auto at = name.find('@');
  HubListing out{.repository = name.substr(0, at), .revision = at == std::string::npos ? "main" : name.substr(at + 1)};
  std::string revision = escaped(out.revision);
  for (size_t slash = 0; (slash = revision.find('/', slash)) != std::string::npos;) revision.replace(slash, 1, "%2F");
  const std::string url = fmt::format("{}/api/models/{}/revision/{}?blobs=true", endpoint(), out.repository, revision);
  const Json told = parse_json(fetch_text(url, variable("HF_TOKEN"), with_hint(options, out.repository)));
  if (!told.is_object() || !told.value("sha", Json()).is_string() || !is_digest(told["sha"], 40) || !told.value("siblings", Json()).is_array())
    throw_user_error({.where = "pull", .problem = url + ": a reply that is not the hub's", .got = told.dump().substr(0, 200)});
  out.commit = told["sha"];
  for (const auto& file : told["siblings"]) out.files.push_back(file_of(file, url));
  return out;
}

std::vector<HubFile> wanted_files(const HubListing& listing, const std::vector<std::string>& include, const std::vector<std::string>& exclude) {
  const bool diffusers = std::any_of(listing.files.begin(), listing.files.end(), [](const auto& file) { return file.name == "model_index.json"; });
  std::vector<HubFile> out;
  for (const auto& file : listing.files) {
    const bool again = diffusers && file.name.find('/') == std::string::npos && fs::path(file.name).extension() == ".safetensors";
    if (include.empty() ? again && exclude.empty() : !fits(file.name, include)) continue;
    if (!fits(file.name, exclude)) out.push_back(file);
  }
  if (out.empty())
    throw_user_error({.where = "pull", .problem = listing.repository + ": nothing is left to fetch", .hint = "Check --include and --exclude"});
  return out;
}

fs::path pull_hub(const HubListing& listing, const std::vector<HubFile>& files, const TransferOptions& options, const Job& job) {
  std::string folder = "models--" + listing.repository;
  folder.replace(folder.find('/'), 1, "--");
  const fs::path root = weights::hub_cache() / folder, snapshot = root / "snapshots" / listing.commit;
  for (size_t i = 0; i < files.size(); ++i) {
    const auto& file = files[i];
    const fs::path blob = root / "blobs" / (file.sha256.empty() ? file.git_blob : file.sha256);
    Job part{.on_progress =
                 [&](Progress progress) {
                   progress.item = static_cast<int64_t>(i);
                   progress.of_items = static_cast<int64_t>(files.size());
                   job.report(progress);
                 },
             .stop = job.stop};
    // A blob is named by its content: one of the right size was checked when it came.
    std::error_code error;
    if (static_cast<int64_t>(fs::file_size(blob, error)) != file.size || error)
      fetch({.url = fmt::format("{}/{}/resolve/{}/{}", endpoint(), listing.repository, listing.commit, escaped(file.name)),
             .size = file.size,
             .sha256 = file.sha256,
             .git_blob = file.git_blob,
             .token = variable("HF_TOKEN"),
             .name = file.name},
            blob, with_hint(options, listing.repository), part);
    link_to(blob, snapshot / file.name);
  }
  if (listing.revision != listing.commit) {
    const fs::path reference = root / "refs" / listing.revision;
    create_folder(reference.parent_path());
    write_text_atomically(reference, listing.commit);
  }
  return snapshot;
}

}  // namespace resflow::download
