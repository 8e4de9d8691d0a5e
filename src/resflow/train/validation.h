// How good the weights are on images that were not trained on.
#pragma once

#include <memory>

#include "resflow/core/json.h"
#include "resflow/train/objective.h"

namespace resflow::train {

class Validation {
 public:
  // Makes the pairs once. Without a validation shard, runs are empty.
  Validation(const TrainOptions& options, c10::Device device);

  struct Result {
    Json scores;  // {"bicubic": {...}, "restored sigma_s=0.1": {"psnr": ..., "ssim": ..., "feature": ...}}; means over the images
    Tensor grid;  // [3, H, W]: rows degraded | restored... | clean of the first images; undefined when empty
  };
  Result run(const Objective& objective) const;

 private:
  std::vector<Pair> pairs_;
  std::shared_ptr<rewards::FeatureDistance> network_;
  c10::Device device_;
};

}  // namespace resflow::train
