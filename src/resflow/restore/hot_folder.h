// Which pictures of a watched folder are ready: whole, and not handed out before as they are now.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <vector>

#include "resflow/restore/picture_list.h"

namespace resflow::restore {

class HotFolder {
 public:
  using Clock = std::chrono::steady_clock;
  // settle: how long a file must keep its size and time before it counts as whole; a copy in progress does not.
  explicit HotFolder(std::chrono::milliseconds settle = std::chrono::milliseconds(1500)) : settle_(settle) {}

  // found: what lies in the folder at `now`. -> those that are ready; each once, and again after it has changed.
  std::vector<FoundPicture> ready(const std::vector<FoundPicture>& found, Clock::time_point now = Clock::now());

 private:
  struct Seen {
    std::uintmax_t bytes = 0;
    std::filesystem::file_time_type modified;
    Clock::time_point since;
    bool given = false;
  };
  std::chrono::milliseconds settle_;
  std::map<std::filesystem::path, Seen> seen_;
};

}  // namespace resflow::restore
