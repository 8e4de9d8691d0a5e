// FLUX.1's transformer (Black Forest Labs 2024; diffusers: FluxTransformer2DModel), under diffusers' names.
#pragma once

#include "resflow/models/flux/trunk.h"

namespace resflow::models {

class FluxTransformer : public nn::Module {
 public:
  // Declares names and shapes; nothing is allocated. Throws UserError where sizes contradict each other.
  explicit FluxTransformer(const FluxConfig& config);

  // The velocity of the latent tokens, in the weights' type. -> [B, L, 64]
  Tensor forward(const FluxInput& input) const;

  // The condition with its keys and values in every block: once an image, whatever the number of steps and candidates. Its attention must be
  // independent. pooled: the text's one vector, [B, 768], of the condition's batch.
  FluxCondition prepare(FluxCondition condition, const Tensor& pooled) const;

  // The blocks come to `device` in turns from now on; everything else, adapters too, moves there. Bind on the CPU and attach adapters before.
  void stream_blocks(c10::Device device);
  std::vector<nn::Module*> block_modules() const { return trunk_.block_modules(); }  // in the order in which they run

  const FluxConfig& config() const { return config_; }

 private:
  FluxConfig config_;
  FluxTrunk trunk_;
  nn::Linear norm_out_linear_;  // named norm_out.linear: [2 D], scale, shift (the other way round in BFL's files)
  nn::Linear proj_out_;
};

}  // namespace resflow::models
