// How long work tells what it has done, and how it is asked to stop.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "resflow/core/error.h"

namespace resflow {

struct Progress {
  std::string stage;               // "denoise", "decode", ...
  int64_t done = 0, of = 0;        // units of the stage; of = 0: unknown
  int64_t item = 0, of_items = 1;  // which of several pictures this is about, from 0
};

// What a long-running call is given: report() may be called from any thread that runs the work; a stop is asked through `stop`.
struct Job {
  std::function<void(const Progress&)> on_progress;
  std::stop_token stop;

  void report(const Progress& progress) const {
    if (on_progress) on_progress(progress);
  }
  void throw_if_stopped() const {
    if (stop.stop_requested()) throw Cancelled();
  }
};

}  // namespace resflow
