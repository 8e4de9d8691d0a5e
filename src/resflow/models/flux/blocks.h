// FLUX's two kinds of transformer blocks (diffusers: FluxTransformerBlock, FluxSingleTransformerBlock).
#pragma once

#include "resflow/models/blocks.h"

namespace resflow::models {

// Text and image, each with weights of its own, attend to both. One after the other the text comes first.
class FluxDoubleBlock : public nn::Module {
 public:
  FluxDoubleBlock(Module& parent, const std::string& name, const BlockConfig& config);

  struct Tokens {
    Tensor image, text;  // [B, L, D], [B, T, D]
  };
  // temb [B, D]; each kind's rope for its own length.
  Tokens forward(const Tokens& x, const Tensor& temb, const nn::Rope& image_rope, const nn::Rope& text_rope) const;

 private:
  TokenStream image_, text_;
};

// Text and image as one sequence; attention and network side by side, under one modulation and one output projection.
class FluxSingleBlock : public nn::Module {
 public:
  FluxSingleBlock(Module& parent, const std::string& name, const BlockConfig& config);

  // x [B, T + L, D], temb [B, D], rope of T + L -> the same shape
  Tensor forward(const Tensor& x, const Tensor& temb, const nn::Rope& rope, nn::Branch branch = nn::Branch::main) const;

 private:
  nn::Linear norm_linear_;  // named norm.linear: [3 D], shift, scale, gate
  Attention attn_;
  nn::Linear proj_mlp_, proj_out_;  // D -> M; D + M -> D
};

}  // namespace resflow::models
