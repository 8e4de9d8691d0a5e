// The transformer block both families run: FLUX's double-stream MM-DiT block (diffusers: FluxTransformerBlock) with the condition
// tokens of unified multi-modal fusion. Condition tokens go through the latent stream's weights plus their low-rank deltas, under a
// modulation of their own (time 0), and attend to themselves only ("independent", OminiControl2 2503.08280): what they give the
// other tokens is keys and values, the same at every step and for every candidate, so they are computed once an image.
#pragma once

#include <vector>

#include "resflow/nn/linear.h"
#include "resflow/nn/norm.h"
#include "resflow/nn/rope.h"

namespace resflow::models {

struct BlockConfig {
  int64_t width = 192;  // D
  int64_t heads = 3;    // H
  int64_t mlp_ratio = 4;
  int64_t condition_rank = 0;  // rank of the native condition deltas; 0 = none
};

// What a block adds of the condition: rotated keys and values. [B, H, L_cond, E]
struct KeyValue {
  Tensor key, value;
};

class Attention : public nn::Module {
 public:
  Attention(Module& parent, const std::string& name, const BlockConfig& config);
  // x [B, L, D] -> rotated q and k, v: [B, H, L, E]
  Tensor query(const Tensor& x, const nn::Rope& rope, nn::Branch branch) const;
  KeyValue key_value(const Tensor& x, const nn::Rope& rope, nn::Branch branch) const;

  int64_t heads;
  nn::Linear to_q, to_k, to_v;
  nn::RmsNorm norm_q, norm_k;  // [E]
  nn::Linear to_out;           // named to_out.0
};

class DoubleStreamBlock : public nn::Module {
 public:
  DoubleStreamBlock(Module& parent, const std::string& name, const BlockConfig& config);

  // Latent tokens x [B, L, D] under the embedding temb [B, D]. `condition` may hold empty tensors: no condition tokens.
  // mask [L, L + L_cond] is added to the scores, or undefined. -> [B, L, D]
  Tensor forward(const Tensor& x, const Tensor& temb, const nn::Rope& rope, const KeyValue& condition, const Tensor& mask) const;

  // Condition tokens c [B, L_cond, D] under their own embedding: fills `given` with what the latent tokens may attend to and returns
  // the tokens for the next block. mask [L_cond, L_cond] or undefined.
  Tensor forward_condition(const Tensor& c, const Tensor& temb, const nn::Rope& rope, const Tensor& mask, KeyValue& given) const;

 private:
  Tensor run(const Tensor& x, const Tensor& temb, const nn::Rope& rope, nn::Branch branch, const KeyValue* condition, const Tensor& mask,
             KeyValue* given) const;

 public:
  nn::Linear norm1_linear;  // named norm1.linear: [6 D], shift, scale, gate of attention, then of the feed-forward
  Attention attn;
  nn::Linear ff_in, ff_out;  // named ff.net.0.proj, ff.net.2
};

}  // namespace resflow::models
