// A run's folder: what every kind of training keeps in it, and goes on from.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "resflow/core/json.h"
#include "resflow/core/tensor.h"
#include "resflow/train/options.h"

namespace resflow::train {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

class RunFolder {
 public:
  // write: makes the folder. Throws UserError where it cannot be written into.
  explicit RunFolder(const std::filesystem::path& path, bool write = true);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path checkpoint() const { return path_ / "checkpoint.safetensors"; }

  // Fills the tensors of `state` from the checkpoint and gives its step; 0 where there is none. Throws UserError where they do not fit.
  int64_t resume(const NamedTensors& state) const;
  void save(const NamedTensors& state, int64_t step, const Json& options) const;

  // log.jsonl from here on, without what stands there of steps after `step`: that work is done again.
  void open_log(int64_t step);
  // A line of it, on the disk when this returns. Throws UserError where it cannot be written.
  void log(const Json& entry);

 private:
  std::filesystem::path path_;
  std::ofstream log_;
};

// Linear warm-up, then a cosine from learning_rate down to final_learning_rate. step counts from 1; progress: how much of the training is behind it.
double learning_rate_at(const TrainOptions& options, int64_t step, double progress);
inline double learning_rate_at(const TrainOptions& options, int64_t step) {
  return learning_rate_at(options, step, static_cast<double>(step) / static_cast<double>(options.steps));
}

}  // namespace resflow::train
