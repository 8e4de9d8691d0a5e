// A batch's record for other programs: one JSON line a picture, appended as each is done.
#pragma once

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <utility>

#include "resflow/core/json.h"

namespace resflow::restore {

class BatchLog {
 public:
  // Goes on with a file that is there; a last line that a crash left torn is cut off. Throws UserError where it cannot be written.
  explicit BatchLog(std::filesystem::path path);

  // Appends the entry, unless a line of the same output and the same "finished" is there. Throws UserError (disk full).
  void add(const Json& entry);

 private:
  std::filesystem::path path_;
  std::ofstream out_;
  std::set<std::pair<std::string, std::string>> there_;  // output (of a failure the input), finished
};

}  // namespace resflow::restore
