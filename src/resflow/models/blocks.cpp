#include "resflow/models/blocks.h"

#include <ATen/ATen.h>

#include "resflow/nn/attention.h"

namespace resflow::models {

Attention::Attention(Module& parent, const std::string& name, const BlockConfig& config)
    : Module(parent, name),
      heads(config.heads),
      to_q(*this, "to_q", config.width, config.width, {.condition_rank = config.condition_rank}),
      to_k(*this, "to_k", config.width, config.width, {.condition_rank = config.condition_rank}),
      to_v(*this, "to_v", config.width, config.width, {.condition_rank = config.condition_rank}),
      norm_q(*this, "norm_q", config.width / config.heads),
      norm_k(*this, "norm_k", config.width / config.heads),
      to_out(*this, "to_out.0", config.width, config.width, {.condition_rank = config.condition_rank}) {}

Tensor Attention::query(const Tensor& x, const nn::Rope& rope, nn::Branch branch) const {
  return nn::apply_rope(norm_q.forward(nn::split_heads(to_q.forward(x, branch), heads)), rope);
}

KeyValue Attention::key_value(const Tensor& x, const nn::Rope& rope, nn::Branch branch) const {
  return {nn::apply_rope(norm_k.forward(nn::split_heads(to_k.forward(x, branch), heads)), rope), nn::split_heads(to_v.forward(x, branch), heads)};
}

DoubleStreamBlock::DoubleStreamBlock(Module& parent, const std::string& name, const BlockConfig& config)
    : Module(parent, name),
      norm1_linear(*this, "norm1.linear", config.width, 6 * config.width, {.condition_rank = config.condition_rank, .zero_init = true}),
      attn(*this, "attn", config),
      ff_in(*this, "ff.net.0.proj", config.width, config.mlp_ratio * config.width),
      ff_out(*this, "ff.net.2", config.mlp_ratio * config.width, config.width, {.condition_rank = config.condition_rank}) {}

Tensor DoubleStreamBlock::run(const Tensor& x, const Tensor& temb, const nn::Rope& rope, nn::Branch branch, const KeyValue* condition,
                              const Tensor& mask, KeyValue* given) const {
  const auto modulation = norm1_linear.forward(at::silu(temb), branch).unsqueeze(1).chunk(6, -1);  // 6 x [B, 1, D]
  const Tensor &shift = modulation[0], &scale = modulation[1], &gate = modulation[2];
  const Tensor &shift_mlp = modulation[3], &scale_mlp = modulation[4], &gate_mlp = modulation[5];

  const Tensor h = nn::plain_layer_norm(x) * (1 + scale) + shift;  // [B, L, D]
  KeyValue kv = attn.key_value(h, rope, branch);                   // [B, H, L, E]
  if (given != nullptr) *given = kv;
  if (condition != nullptr && condition->key.defined()) {
    const int64_t batch = x.size(0);  // one image's condition serves a whole batch of candidates
    const auto spread = [&](const Tensor& t) { return t.size(0) == batch ? t : t.expand({batch, -1, -1, -1}); };
    kv = {at::cat({kv.key, spread(condition->key)}, 2), at::cat({kv.value, spread(condition->value)}, 2)};  // [B, H, L + L_cond, E]
  }
  const Tensor attended = nn::join_heads(nn::attention(attn.query(h, rope, branch), kv.key, kv.value, mask));  // [B, L, D]
  const Tensor mixed = x + gate * attn.to_out.forward(attended, branch);
  const Tensor f = nn::plain_layer_norm(mixed) * (1 + scale_mlp) + shift_mlp;
  return mixed + gate_mlp * ff_out.forward(at::gelu(ff_in.forward(f, branch), "tanh"), branch);  // [B, L, D]
}

Tensor DoubleStreamBlock::forward(const Tensor& x, const Tensor& temb, const nn::Rope& rope, const KeyValue& condition, const Tensor& mask) const {
  return run(x, temb, rope, nn::Branch::main, &condition, mask, nullptr);
}

Tensor DoubleStreamBlock::forward_condition(const Tensor& c, const Tensor& temb, const nn::Rope& rope, const Tensor& mask, KeyValue& given) const {
  return run(c, temb, rope, nn::Branch::condition, nullptr, mask, &given);
}

}  // namespace resflow::models
