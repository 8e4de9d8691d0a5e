// What a step minimises. One objective a task; both see a part of a batch and may run in several threads at once.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "resflow/models/compact/flow.h"
#include "resflow/rewards/feature_distance.h"
#include "resflow/train/dataset.h"

namespace resflow::train {

struct Loss {
  Tensor total;                                       // scalar, mean over the part
  std::vector<std::pair<std::string, Tensor>> terms;  // scalars for the log, detached
  Tensor pattern;                                     // what absorb() is given the batch's mean of; may be undefined
};

class Objective {
 public:
  virtual ~Objective() = default;
  // The module that is trained.
  virtual nn::Module& module() = 0;
  // first_index: the run-wide number of the part's first sample; all random draws are named by it.
  virtual Loss loss(const Batch& part, int64_t first_index) const = 0;
  // What an objective remembers over steps: called after each, with the mean of the parts' patterns.
  virtual void absorb(const Tensor&) {}
  // The tensors of that memory, for the checkpoint; they are written into on resuming.
  virtual std::vector<std::pair<std::string, Tensor>> memory() const { return {}; }
  // Restored images for validation, by variant ("" or "sigma_s=0.1"). degraded, taught [1, 3, H, W], the latter undefined where there is no
  // teacher's picture; words int64 [1, models::kFlaws] -> [1, 3, H, W]
  virtual std::vector<std::pair<std::string, Tensor>> restore(const Tensor& degraded, const Tensor& taught, const Tensor& words,
                                                              int64_t index) const = 0;
  // What an objective that trains a judge thinks of several results for one picture: images [N, 3, H, W], scores [N], higher is better.
  struct Judged {
    Tensor images, scores;
  };
  virtual std::optional<Judged> judge(const Tensor& degraded, int64_t index) const { return std::nullopt; }
  // Names the kind of weights in the file's metadata.
  virtual std::string part() const = 0;
};

std::unique_ptr<Objective> make_objective(const TrainOptions& options, c10::Device device);

}  // namespace resflow::train
