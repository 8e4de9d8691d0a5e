// FLUX.1's transformer (Black Forest Labs 2024; diffusers: FluxTransformer2DModel), under diffusers' names.
#pragma once

#include <memory>
#include <vector>

#include "resflow/models/flux/blocks.h"
#include "resflow/models/flux/embeddings.h"

namespace resflow::models {

// What one forward pass sees.
struct FluxInput {
  Tensor hidden_states;          // latent tokens, [B, L, 64] (tokens.h: patchify, side 2)
  Tensor encoder_hidden_states;  // the text's tokens (T5), [B, T, 4096]
  Tensor pooled;                 // the text's one vector (CLIP), [B, 768]
  Tensor timestep;               // sigma, [B], 0..1
  Tensor img_ids, txt_ids;       // positions, [L, 3] and [T, 3], float32 or wider: bf16 ids collide past 256
  Tensor guidance;               // scale, [B]; undefined where the model takes none
};

class FluxTransformer : public nn::Module {
 public:
  // Declares names and shapes; nothing is allocated. Throws UserError where sizes contradict each other.
  explicit FluxTransformer(const FluxConfig& config);

  // The velocity of the latent tokens, in the weights' type. -> [B, L, 64]
  Tensor forward(const FluxInput& input) const;

  const FluxConfig& config() const { return config_; }

 private:
  FluxConfig config_;
  FluxEmbedding time_text_embed_;
  nn::Linear context_embedder_, x_embedder_;
  std::vector<std::unique_ptr<FluxDoubleBlock>> transformer_blocks_;
  std::vector<std::unique_ptr<FluxSingleBlock>> single_transformer_blocks_;
  nn::Linear norm_out_linear_;  // named norm_out.linear: [2 D], scale, shift (the other way round in BFL's files)
  nn::Linear proj_out_;
};

}  // namespace resflow::models
