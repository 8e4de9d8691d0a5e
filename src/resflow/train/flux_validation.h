// How a fusion for FLUX does on pictures that are not trained on: its loss on fixed draws, and what it makes of a few of them.
#pragma once

#include <memory>
#include <optional>

#include "resflow/autoencoders/autoencoder.h"
#include "resflow/train/flux_objective.h"

namespace resflow::train {

// The noise of a sample of the shard, of a batch of 1's shape: draw 0 is what its picture starts from, 1 to 5 are of the loss's times.
Tensor validation_noise(int64_t row, int64_t draw, at::IntArrayRef shape);

class FluxValidation {
 public:
  // Reads the shard `options.validation`, and the autoencoder `flux.autoencoder` where there is one. Without a shard, runs are empty.
  FluxValidation(const TrainOptions& options, c10::Device device);

  struct Result {
    std::optional<double> loss;  // mean over all samples of the shard (at most 16) at five times; no text or image is left out
    Tensor grid;                 // [3, H, W], 0..1: rows poor | restored | good of the first samples (at most 4); undefined without an autoencoder
  };
  Result run(const FluxObjective& objective) const;

 private:
  double loss(const FluxObjective& objective) const;
  Tensor grid(const FluxObjective& objective) const;

  TrainOptions options_;
  c10::Device device_;
  std::optional<LatentShards> shard_;
  std::unique_ptr<autoencoders::Autoencoder> autoencoder_;
};

}  // namespace resflow::train
