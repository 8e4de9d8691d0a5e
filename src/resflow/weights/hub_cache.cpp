#include "resflow/weights/hub_cache.h"

#include <algorithm>
#include <cstdlib>
#include <regex>

#include "resflow/core/error.h"
#include "resflow/core/files.h"

namespace resflow::weights {
namespace {

namespace fs = std::filesystem;

// "" where it is not set. "~" is the home folder, as in Python's expanduser.
std::string variable(const char* name) {
  const char* value = std::getenv(name);
  std::string out = value == nullptr ? "" : value;
  if (out != "~" && !out.starts_with("~/")) return out;
  const char* home = std::getenv("HOME");
  return (home == nullptr ? "" : home) + out.substr(1);
}

bool is_commit(const std::string& text) {
  return text.size() == 40 && std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

const std::regex& hub_name() {
  // No name begins or ends with a dot or a dash, so that none leads out of the cache's folder.
  static const std::regex pattern(R"(([\w](?:[\w.-]*\w)?)/([\w](?:[\w.-]*\w)?)(?:@([\w](?:[\w./-]*\w)?))?)");
  return pattern;
}

}  // namespace

fs::path hub_cache() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (auto value = variable(name); !value.empty()) return value;
  if (auto value = variable("HF_HOME"); !value.empty()) return fs::path(value) / "hub";
  if (auto value = variable("XDG_CACHE_HOME"); !value.empty()) return fs::path(value) / "huggingface" / "hub";
  return fs::path(variable("HOME")) / ".cache" / "huggingface" / "hub";
}

bool is_hub_name(const std::string& name) { return std::regex_match(name, hub_name()) && name.find("..") == std::string::npos; }

HubModel find_in_hub_cache(const std::string& name) {
  std::smatch parts;
  if (!is_hub_name(name) || !std::regex_match(name, parts, hub_name()))
    throw_user_error({.where = "model", .problem = "not a name of Hugging Face's", .wanted = "ORG/NAME or ORG/NAME@REVISION", .got = name});
  HubModel out{.repository = parts[1].str() + "/" + parts[2].str(), .revision = parts[3].matched ? parts[3].str() : "main"};
  const fs::path repository = hub_cache() / ("models--" + parts[1].str() + "--" + parts[2].str());
  const auto fail = [&](const std::string& problem, const fs::path& looked) {
    throw_user_error({.where = "model " + name,
                      .problem = problem,
                      .wanted = looked.string(),
                      .got = "nothing there",
                      .hint = "Nothing is downloaded by itself: `resflow pull " + name + "` does; or name a folder, or set HF_HUB_CACHE or HF_HOME"});
  };
  if (!fs::is_directory(repository)) fail("not in Hugging Face's cache, and no such folder", repository);
  if (is_commit(out.revision)) {
    out.commit = out.revision;
  } else {
    const fs::path reference = repository / "refs" / out.revision;
    if (!fs::is_regular_file(reference)) fail("the cache does not know this revision", reference);
    out.commit = read_text(reference);
    while (!out.commit.empty() && (out.commit.back() == '\n' || out.commit.back() == ' ')) out.commit.pop_back();
    if (!is_commit(out.commit))
      throw_user_error(
          {.where = reference.string(), .problem = "not the name of a commit", .wanted = "40 hexadecimal digits", .got = out.commit.substr(0, 60)});
  }
  out.folder = repository / "snapshots" / out.commit;
  if (!fs::is_directory(out.folder)) fail("the snapshot of this revision is not in the cache", out.folder);
  return out;
}

}  // namespace resflow::weights
