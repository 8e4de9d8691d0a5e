#include "resflow/models/blocks.h"

#include <ATen/ATen.h>

#include "resflow/nn/attention.h"

namespace resflow::models {

Attention::Attention(Module& parent, const std::string& name, const BlockConfig& config, const AttentionNames& names)
    : Module(parent, name),
      heads(config.heads),
      to_q(*this, names.to_q, config.width, config.width, {.condition_rank = config.condition_rank}),
      to_k(*this, names.to_k, config.width, config.width, {.condition_rank = config.condition_rank}),
      to_v(*this, names.to_v, config.width, config.width, {.condition_rank = config.condition_rank}),
      norm_q(*this, names.norm_q, config.width / config.heads),
      norm_k(*this, names.norm_k, config.width / config.heads) {
  if (names.to_out != nullptr)
    to_out.emplace(*this, names.to_out, config.width, config.width, nn::Linear::Options{.condition_rank = config.condition_rank});
}

Tensor Attention::query(const Tensor& x, const nn::Rope& rope, nn::Branch branch) const {
  return nn::apply_rope(norm_q.forward(nn::split_heads(to_q.forward(x, branch), heads)), rope);
}

KeyValue Attention::key_value(const Tensor& x, const nn::Rope& rope, nn::Branch branch) const {
  return {nn::apply_rope(norm_k.forward(nn::split_heads(to_k.forward(x, branch), heads)), rope), nn::split_heads(to_v.forward(x, branch), heads)};
}

TokenStream::TokenStream(nn::Module& block, const BlockConfig& config, const StreamNames& names)
    : norm_linear(block, std::string(names.norm) + ".linear", config.width, 6 * config.width,
                  {.condition_rank = config.condition_rank, .zero_init = true}),
      attn(block, "attn", config, names.attention),
      ff_in(block, std::string(names.ff) + ".net.0.proj", config.width, config.mlp_ratio * config.width),
      ff_out(block, std::string(names.ff) + ".net.2", config.mlp_ratio * config.width, config.width, {.condition_rank = config.condition_rank}) {}

TokenStream::Modulation TokenStream::modulation(const Tensor& temb, nn::Branch branch) const {
  const auto parts = norm_linear.forward(at::silu(temb), branch).unsqueeze(1).chunk(6, -1);  // 6 x [B, 1, D]
  return {parts[0], parts[1], parts[2], parts[3], parts[4], parts[5]};
}

Tensor TokenStream::before(const Tensor& x, const Modulation& m) const { return nn::plain_layer_norm(x) * (1 + m.scale) + m.shift; }

Tensor TokenStream::after(const Tensor& x, const Tensor& attended, const Modulation& m, nn::Branch branch) const {
  const Tensor mixed = x + m.gate * attn.to_out->forward(attended, branch);
  const Tensor f = nn::plain_layer_norm(mixed) * (1 + m.scale_mlp) + m.shift_mlp;
  return mixed + m.gate_mlp * ff_out.forward(at::gelu(ff_in.forward(f, branch), "tanh"), branch);  // [B, L, D]
}

DoubleStreamBlock::DoubleStreamBlock(Module& parent, const std::string& name, const BlockConfig& config)
    : Module(parent, name), stream_(*this, config) {
  if (!config.text) return;
  BlockConfig own = config;
  own.condition_rank = 0;
  text_.emplace(*this, own, kTextStream);
}

Tensor DoubleStreamBlock::run(const TokenStream& stream, const Tensor& x, const Tensor& temb, const nn::Rope& rope, nn::Branch branch,
                              const KeyValue* condition, const Tensor& mask, KeyValue* given) {
  const auto modulation = stream.modulation(temb, branch);
  const Tensor h = stream.before(x, modulation);         // [B, L, D]
  KeyValue kv = stream.attn.key_value(h, rope, branch);  // [B, H, L, E]
  if (given != nullptr) *given = kv;
  if (condition != nullptr && condition->key.defined()) {
    const int64_t batch = x.size(0);  // one image's condition serves a whole batch of candidates
    const auto spread = [&](const Tensor& t) { return t.size(0) == batch ? t : t.expand({batch, -1, -1, -1}); };
    kv = {at::cat({kv.key, spread(condition->key)}, 2), at::cat({kv.value, spread(condition->value)}, 2)};  // [B, H, L + L_cond, E]
  }
  const Tensor attended = nn::join_heads(nn::attention(stream.attn.query(h, rope, branch), kv.key, kv.value, mask));  // [B, L, D]
  return stream.after(x, attended, modulation, branch);
}

Tensor DoubleStreamBlock::forward(const Tensor& x, const Tensor& temb, const nn::Rope& rope, const KeyValue& condition, const Tensor& mask) const {
  return run(stream_, x, temb, rope, nn::Branch::main, &condition, mask, nullptr);
}

Tensor DoubleStreamBlock::forward_condition(const Tensor& c, const Tensor& temb, const nn::Rope& rope, const Tensor& mask, KeyValue& given) const {
  return run(stream_, c, temb, rope, nn::Branch::condition, nullptr, mask, &given);
}

Tensor DoubleStreamBlock::forward_text(const Tensor& text, const Tensor& temb, const nn::Rope& rope, KeyValue& given) const {
  return run(*text_, text, temb, rope, nn::Branch::main, nullptr, {}, &given);
}

}  // namespace resflow::models
