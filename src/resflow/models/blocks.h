// The transformer block both families run: a stream of FLUX's double-stream MM-DiT block (diffusers: FluxTransformerBlock) with the condition
// tokens of unified multi-modal fusion. Condition tokens go through the latent stream's weights plus their low-rank deltas, under a
// modulation of their own (time 0), and attend to themselves only ("independent", OminiControl2 2503.08280): what they give the
// other tokens is keys and values, the same at every step and for every candidate, so they are computed once an image.
#pragma once

#include <optional>

#include "resflow/nn/linear.h"
#include "resflow/nn/norm.h"
#include "resflow/nn/rope.h"

namespace resflow::models {

struct BlockConfig {
  int64_t width = 192;  // D
  int64_t heads = 3;    // H
  int64_t mlp_ratio = 4;
  int64_t condition_rank = 0;  // rank of the native condition deltas; 0 = none
  bool text = false;           // a stream of its own weights for text tokens
};

// What a block adds of the condition: rotated keys and values. [B, H, L_cond, E]
struct KeyValue {
  Tensor key, value;
};

// A checkpoint's names for the parts of one stream's attention.
struct AttentionNames {
  const char *to_q = "to_q", *to_k = "to_k", *to_v = "to_v", *norm_q = "norm_q", *norm_k = "norm_k";
  const char* to_out = "to_out.0";  // nullptr: no output projection (FLUX's single-stream blocks have one for attention and network together)
};

class Attention : public nn::Module {
 public:
  Attention(Module& parent, const std::string& name, const BlockConfig& config, const AttentionNames& names = {});
  // x [B, L, D] -> rotated q and k, v: [B, H, L, E]
  Tensor query(const Tensor& x, const nn::Rope& rope, nn::Branch branch = nn::Branch::main) const;
  KeyValue key_value(const Tensor& x, const nn::Rope& rope, nn::Branch branch = nn::Branch::main) const;

  int64_t heads;
  nn::Linear to_q, to_k, to_v;
  nn::RmsNorm norm_q, norm_k;  // [E]
  std::optional<nn::Linear> to_out;
};

// A checkpoint's names for the parts of one stream of a double-stream block: by default the image's.
struct StreamNames {
  const char* norm = "norm1";
  AttentionNames attention;
  const char* ff = "ff";
};

// The text's stream (diffusers' names).
inline constexpr StreamNames kTextStream = {
    .norm = "norm1_context",
    .attention = {.to_q = "add_q_proj",
                  .to_k = "add_k_proj",
                  .to_v = "add_v_proj",
                  .norm_q = "norm_added_q",
                  .norm_k = "norm_added_k",
                  .to_out = "to_add_out"},
    .ff = "ff_context",
};

// Everything that a double-stream block does to one kind of tokens before and after their joint attention. Its parts are children of the block
// itself, since a checkpoint's names have no level for the stream.
class TokenStream {
 public:
  TokenStream(nn::Module& block, const BlockConfig& config, const StreamNames& names = {});

  // How an embedding steers the stream: [B, 1, D] each.
  struct Modulation {
    Tensor shift, scale, gate, shift_mlp, scale_mlp, gate_mlp;
  };
  Modulation modulation(const Tensor& temb, nn::Branch branch = nn::Branch::main) const;  // temb [B, D]
  // What the attention sees of x. [B, L, D] -> [B, L, D]
  Tensor before(const Tensor& x, const Modulation& m) const;
  // x with the attention's result, [B, L, D], and the feed-forward network's. -> [B, L, D]
  Tensor after(const Tensor& x, const Tensor& attended, const Modulation& m, nn::Branch branch = nn::Branch::main) const;

  nn::Linear norm_linear;  // named norm1.linear: [6 D], shift, scale, gate of attention, then of the feed-forward
  Attention attn;
  nn::Linear ff_in, ff_out;  // named ff.net.0.proj, ff.net.2
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

  // The same for text tokens, [B, L_text, D], which attend to each other: through the text's stream, that the block must have.
  Tensor forward_text(const Tensor& text, const Tensor& temb, const nn::Rope& rope, KeyValue& given) const;

 private:
  static Tensor run(const TokenStream& stream, const Tensor& x, const Tensor& temb, const nn::Rope& rope, nn::Branch branch,
                    const KeyValue* condition, const Tensor& mask, KeyValue* given);

  TokenStream stream_;
  std::optional<TokenStream> text_;
};

}  // namespace resflow::models
