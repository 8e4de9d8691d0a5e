#include "resflow/core/data_path.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <system_error>
#include <vector>

#include "resflow/core/error.h"

namespace resflow {

std::filesystem::path data_file(std::string_view relative) {
  std::vector<std::filesystem::path> folders;
  if (const char* chosen = std::getenv("RESFLOW_DATA"); chosen != nullptr && *chosen != '\0') folders.emplace_back(chosen);
  std::error_code error;
  if (Dl_info library{}; dladdr(reinterpret_cast<const void*>(&data_file), &library) != 0 && library.dli_fname != nullptr)
    folders.push_back(std::filesystem::absolute(library.dli_fname, error).parent_path());
  if (const auto program = std::filesystem::read_symlink("/proc/self/exe", error); !error) {
    const auto above = program.parent_path().parent_path();
    folders.insert(folders.end(), {above / "share" / "resflow", above, above.parent_path()});
  }
  std::string tried;
  for (const auto& folder : folders) {
    auto path = folder / relative;
    if (std::filesystem::exists(path, error)) return path;
    tried += (tried.empty() ? "" : ", ") + path.string();
  }
  throw_user_error({.where = std::string(relative),
                    .problem = "a file that belongs to the program is missing",
                    .wanted = "one of " + tried,
                    .hint = "Set RESFLOW_DATA to the folder that holds it"});
}

}  // namespace resflow
