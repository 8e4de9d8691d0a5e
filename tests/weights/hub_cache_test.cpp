// A cache as Hugging Face's tools lay it out, made here; blobs and links are theirs and not looked at.
#include "resflow/weights/hub_cache.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "resflow/core/error.h"
#include "resflow/core/files.h"

using namespace resflow;
using namespace resflow::weights;
namespace fs = std::filesystem;

namespace {

const std::string kCommit(40, 'a'), kOther(40, 'b');

// Sets variables of the environment, and puts back what was there.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::string>& values) {
    for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"}) {
      const char* before = std::getenv(name);
      before_[name] = before == nullptr ? std::nullopt : std::make_optional<std::string>(before);
      set(name, values.contains(name) ? std::make_optional(values.at(name)) : std::nullopt);
    }
  }
  ~Environment() {
    for (const auto& [name, value] : before_) set(name, value);
  }

 private:
  static void set(const std::string& name, const std::optional<std::string>& value) {
    if (value) {
      ::setenv(name.c_str(), value->c_str(), 1);
    } else {
      ::unsetenv(name.c_str());
    }
  }
  std::map<std::string, std::optional<std::string>> before_;
};

struct Cache {
  fs::path path = fs::temp_directory_path() / ("resflow-hub-" + std::to_string(::getpid()));
  fs::path model = path / "models--black-forest-labs--FLUX.1-dev";
  Cache() {
    fs::create_directories(model / "refs" / "refs" / "pr");
    fs::create_directories(model / "snapshots" / kCommit);
    write_text_atomically(model / "refs" / "main", kCommit);
    write_text_atomically(model / "refs" / "refs" / "pr" / "7", kOther + "\n");
  }
  ~Cache() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

}  // namespace

TEST_CASE("the cache is where huggingface_hub would look, the nearest setting first") {
  std::map<std::string, std::string> set = {{"HOME", "/home/a"}};
  const auto found = [&] {
    const Environment environment(set);
    return hub_cache().string();
  };
  CHECK(found() == "/home/a/.cache/huggingface/hub");
  set["XDG_CACHE_HOME"] = "/xdg";
  CHECK(found() == "/xdg/huggingface/hub");
  set["HF_HOME"] = "~/hf";
  CHECK(found() == "/home/a/hf/hub");
  set["HUGGINGFACE_HUB_CACHE"] = "/old";
  CHECK(found() == "/old");
  set["HF_HUB_CACHE"] = "/cache";
  CHECK(found() == "/cache");
}

TEST_CASE("a name is found through its reference, a commit without one") {
  const Cache cache;
  const Environment environment({{"HF_HUB_CACHE", cache.path.string()}});
  const auto model = find_in_hub_cache("black-forest-labs/FLUX.1-dev");
  CHECK(model.repository == "black-forest-labs/FLUX.1-dev");
  CHECK(model.revision == "main");
  CHECK(model.commit == kCommit);
  CHECK(model.folder == cache.model / "snapshots" / kCommit);
  CHECK(find_in_hub_cache("black-forest-labs/FLUX.1-dev@" + kCommit).folder == model.folder);
  fs::create_directories(cache.model / "snapshots" / kOther);
  CHECK(find_in_hub_cache("black-forest-labs/FLUX.1-dev@refs/pr/7").commit == kOther);
}

TEST_CASE("what is not there is told with the place that was looked at") {
  const Cache cache;
  const Environment environment({{"HF_HUB_CACHE", cache.path.string()}});
  const auto told = [](const std::string& name) -> std::string {
    try {
      find_in_hub_cache(name);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  };
  CHECK(told("black-forest-labs/FLUX.1-schnell").find((cache.path / "models--black-forest-labs--FLUX.1-schnell").string()) != std::string::npos);
  CHECK(told("black-forest-labs/FLUX.1-dev@v2").find((cache.model / "refs" / "v2").string()) != std::string::npos);
  CHECK(told("black-forest-labs/FLUX.1-dev@refs/pr/7").find((cache.model / "snapshots" / kOther).string()) != std::string::npos);
  write_text_atomically(cache.model / "refs" / "main", "../../elsewhere");
  CHECK(told("black-forest-labs/FLUX.1-dev").find("not the name of a commit") != std::string::npos);
}

TEST_CASE("only names of Hugging Face's form are looked up") {
  for (const char* name : {"a/b", "black-forest-labs/FLUX.1-dev", "a/b@main", "a/b@refs/pr/1"}) CHECK(is_hub_name(name));
  for (const char* name : {"", "a", "/a/b", "a/b/c", "../b", "a/..", "a/.b", "a/b@", "a/b@../c", "a/b@x/../y", "a b/c", "a/b\n"})
    CHECK_FALSE(is_hub_name(name));
}
