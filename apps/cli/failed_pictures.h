// Pictures that a command passed over: told as they come, and listed at its end.
#pragma once

#include <cstdio>
#include <string>

#include "command.h"
#include "resflow/core/log.h"

namespace resflow::cli {

class FailedPictures {
 public:
  void add(const std::string& where, const std::string& problem) {
    log_warn(problem.find(where) == std::string::npos ? where + ": " + problem : problem);
    list_ += "  " + where + "\n";
    ++count_;
  }
  // The command's exit code, beside `done` that went well.
  int report(size_t done) const {
    if (count_ == 0) return kGood;
    std::fprintf(stderr, "resflow: %zu of %zu pictures failed:\n%s", count_, done + count_, list_.c_str());
    return kSomeFailed;
  }

 private:
  std::string list_;
  size_t count_ = 0;
};

}  // namespace resflow::cli
