// Where the program keeps what it has fetched or worked out and could have again.
#pragma once

#include <filesystem>

namespace resflow {

// $RESFLOW_CACHE, else $XDG_CACHE_HOME/resflow, else ~/.cache/resflow. Need not exist. Throws UserError where not even a home folder is known.
std::filesystem::path cache_folder();

}  // namespace resflow
