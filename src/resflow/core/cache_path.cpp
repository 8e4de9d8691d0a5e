#include "resflow/core/cache_path.h"

#include <cstdlib>

#include "resflow/core/error.h"

namespace resflow {

std::filesystem::path cache_folder() {
  const auto variable = [](const char* name) -> std::filesystem::path {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (const auto own = variable("RESFLOW_CACHE"); !own.empty()) return own;
  if (const auto cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache / "resflow";
  if (const auto home = variable("HOME"); !home.empty()) return home / ".cache" / "resflow";
  throw_user_error({.where = "cache", .problem = "no folder for what is fetched", .wanted = "RESFLOW_CACHE, XDG_CACHE_HOME or HOME to be set"});
}

}  // namespace resflow
