// What a step of training for FLUX minimises: |velocity(z_t) - (noise - x0)|^2 at logit-normal times, with the text and the condition image now and
// then left out (OminiControl's and FLUX's own recipe).
#pragma once

#include <memory>

#include "resflow/models/fusion/flux_fusion.h"
#include "resflow/train/latents.h"
#include "resflow/train/options.h"

namespace resflow::train {

// Everything random of a batch: a function of (seed, index of the batch).
struct FluxBatch {
  Latents latents;   // with the empty text and condition where they are dropped
  Tensor noise;      // [B, 16, h, w]
  Tensor t;          // [B], 0..1: 1 is noise
  Tensor z, target;  // z_t and noise - x0, [B, 16, h, w]
};

class FluxObjective {
 public:
  // The transformer's weights are loaded where `options.flux.model` names some; else its tensors are not there (for counting).
  FluxObjective(const TrainOptions& options, c10::Device device);

  models::FluxFusion& module() const { return *fusion_; }
  const models::FluxTransformer& transformer() const { return *transformer_; }
  // Starts what is trained: random, or 0, or the transformer's own.
  void initialise();

  FluxBatch batch(const LatentShards& shards, int64_t index) const { return batch(shards, index, 0, options_.batch); }
  // Its samples [from, to).
  FluxBatch batch(const LatentShards& shards, int64_t index, int64_t from, int64_t to) const;
  // The fusion's velocity at z [B, 16, h, w], noise levels t [B] -> [B, 16, h, w], float32, on the objective's device.
  Tensor velocity(const Latents& latents, const Tensor& z, const Tensor& t) const;
  // Scalar, the batch's mean, with a graph where gradients are on.
  Tensor loss(const FluxBatch& batch) const;

 private:
  TrainOptions options_;
  c10::Device device_;
  std::unique_ptr<models::FluxTransformer> transformer_;
  std::unique_ptr<models::FluxFusion> fusion_;
};

// The transformer's shape: of the file or folder that `flux.model` names; FLUX.1-dev's where it names nothing that is there and `assume` is set.
models::FluxConfig flux_shape(const TrainOptions& options, bool assume);

}  // namespace resflow::train
