// A hot folder: what is put into it is restored.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "resflow/restore/batch.h"

namespace resflow::restore {

struct WatchOptions {
  std::vector<std::string> inputs;  // folders
  std::filesystem::path output;     // a folder; where it lies within an input it is not watched
  std::string format = "auto";
  bool recursive = false;
  std::chrono::milliseconds settle{1500};  // how long a file must have kept its size and time
};

// Throws UserError: an input that is no folder, results into a watched folder itself.
void check_watch(const std::vector<std::string>& inputs, const std::filesystem::path& output);

// Restores what lies in the folders, then what comes, until the job is stopped; a stop amid a picture throws Cancelled. A picture that fails is
// told and tried again when its file changes; so is one whose result another picture has taken.
void watch(const Restorer& restorer, const WatchOptions& options, const BatchOptions& batch, const Job& job,
           const std::function<void(const Json&)>& on_item);

}  // namespace resflow::restore
