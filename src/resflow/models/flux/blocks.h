// FLUX's two kinds of transformer blocks (diffusers: FluxTransformerBlock, FluxSingleTransformerBlock), with the condition tokens of unified
// multi-modal fusion: they go through the image's weights plus the adapters for Branch::condition, under an embedding of their own.
#pragma once

#include <string>

#include "resflow/models/blocks.h"

namespace resflow::models {

// What condition tokens attend to: text, image and themselves; or themselves only, so that their keys and values are the same at every step and
// for every candidate (OminiControl2, 2503.08280).
enum class ConditionAttention { full, independent };

// The same in all blocks of a pass.
struct FluxSteering {
  Tensor temb, condition_temb;                     // [B, D]
  nn::Rope image_rope, text_rope, condition_rope;  // of L, T and C tokens
  nn::Rope rope;                                   // text, then image
  ConditionAttention attention = ConditionAttention::independent;
};

// The tokens on their way. Text and image, each with weights of its own, attend to both, and to the condition. One after the other the text
// comes first.
struct FluxTokens {
  Tensor image, text;  // [B, L, D], [B, T, D]
  Tensor condition;    // [B, C, D]; undefined: there is none, or a block is given its keys and values instead
};

class FluxDoubleBlock : public nn::Module {
 public:
  FluxDoubleBlock(Module& parent, const std::string& name, const BlockConfig& config);

  // condition: what forward_condition() gave, with a batch of B or 1, where x has no condition tokens; else empty.
  FluxTokens forward(const FluxTokens& x, const FluxSteering& by, const KeyValue& condition = {}) const;
  // Independent condition tokens alone: fills `given` with what the others may attend to. [B, C, D] -> [B, C, D]
  Tensor forward_condition(const Tensor& condition, const FluxSteering& by, KeyValue& given) const;

 private:
  TokenStream image_, text_;
};

// Text and image as one sequence; attention and network side by side, under one modulation and one output projection.
class FluxSingleBlock : public nn::Module {
 public:
  FluxSingleBlock(Module& parent, const std::string& name, const BlockConfig& config);

  struct Tokens {
    Tensor main, condition;  // [B, T + L, D], [B, C, D] or undefined
  };
  Tokens forward(const Tokens& x, const FluxSteering& by, const KeyValue& condition = {}) const;
  Tensor forward_condition(const Tensor& condition, const FluxSteering& by, KeyValue& given) const;

 private:
  struct Stream;
  Stream enter(const Tensor& x, const Tensor& temb, const nn::Rope& rope, nn::Branch branch) const;
  Tensor leave(const Tensor& x, const Tensor& attended, const Stream& stream, nn::Branch branch) const;

  nn::Linear norm_linear_;  // named norm.linear: [3 D], shift, scale, gate
  Attention attn_;
  nn::Linear proj_mlp_, proj_out_;  // D -> M; D + M -> D
};

}  // namespace resflow::models
