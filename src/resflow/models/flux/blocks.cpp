#include "resflow/models/flux/blocks.h"

#include <ATen/ATen.h>

#include "resflow/nn/attention.h"

namespace resflow::models {
namespace {

constexpr StreamNames kText = {
    .norm = "norm1_context",
    .attention = {.to_q = "add_q_proj",
                  .to_k = "add_k_proj",
                  .to_v = "add_v_proj",
                  .norm_q = "norm_added_q",
                  .norm_k = "norm_added_k",
                  .to_out = "to_add_out"},
    .ff = "ff_context",
};

// A few of FLUX's tokens outgrow float16.
Tensor within_half(const Tensor& x) { return x.scalar_type() == at::kHalf ? x.clamp(-65504, 65504) : x; }

}  // namespace

FluxDoubleBlock::FluxDoubleBlock(Module& parent, const std::string& name, const BlockConfig& config)
    : Module(parent, name), image_(*this, config), text_(*this, config, kText) {}

FluxDoubleBlock::Tokens FluxDoubleBlock::forward(const Tokens& x, const Tensor& temb, const nn::Rope& image_rope, const nn::Rope& text_rope) const {
  const auto image = image_.modulation(temb), text = text_.modulation(temb);
  const Tensor h = image_.before(x.image, image), c = text_.before(x.text, text);
  const KeyValue of_image = image_.attn.key_value(h, image_rope), of_text = text_.attn.key_value(c, text_rope);

  const Tensor query = at::cat({text_.attn.query(c, text_rope), image_.attn.query(h, image_rope)}, 2);  // [B, H, T + L, E]
  const Tensor key = at::cat({of_text.key, of_image.key}, 2), value = at::cat({of_text.value, of_image.value}, 2);
  const Tensor attended = nn::join_heads(nn::attention(query, key, value));  // [B, T + L, D]

  const int64_t count = x.text.size(1);
  return {.image = image_.after(x.image, attended.narrow(1, count, x.image.size(1)), image),
          .text = within_half(text_.after(x.text, attended.narrow(1, 0, count), text))};
}

FluxSingleBlock::FluxSingleBlock(Module& parent, const std::string& name, const BlockConfig& config)
    : Module(parent, name),
      norm_linear_(*this, "norm.linear", config.width, 3 * config.width),
      attn_(*this, "attn", config, {.to_out = nullptr}),
      proj_mlp_(*this, "proj_mlp", config.width, config.mlp_ratio * config.width),
      proj_out_(*this, "proj_out", (1 + config.mlp_ratio) * config.width, config.width) {}

Tensor FluxSingleBlock::forward(const Tensor& x, const Tensor& temb, const nn::Rope& rope, nn::Branch branch) const {
  const auto modulation = norm_linear_.forward(at::silu(temb), branch).unsqueeze(1).chunk(3, -1);  // 3 x [B, 1, D]
  const Tensor &shift = modulation[0], &scale = modulation[1], &gate = modulation[2];
  const Tensor h = nn::plain_layer_norm(x) * (1 + scale) + shift;
  const auto [key, value] = attn_.key_value(h, rope, branch);
  const Tensor attended = nn::join_heads(nn::attention(attn_.query(h, rope, branch), key, value));  // [B, T + L, D]
  const Tensor network = at::gelu(proj_mlp_.forward(h, branch), "tanh");                            // [B, T + L, M]
  return within_half(x + gate * proj_out_.forward(at::cat({attended, network}, -1), branch));
}

}  // namespace resflow::models
