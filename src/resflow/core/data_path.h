// Files that ship with the program (weights/...), wherever it was put.
#pragma once

#include <filesystem>
#include <string_view>

namespace resflow {

// The first that exists of $RESFLOW_DATA/relative; L/relative, L being the folder of the library or program that this code is in (the Python
// module brings its own); and, D being the program's own folder, D/../share/resflow/relative (installed), D/../relative and D/../../relative
// (built inside the source tree). Throws UserError naming the places that were tried.
std::filesystem::path data_file(std::string_view relative);

}  // namespace resflow
