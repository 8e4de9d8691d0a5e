#include "resflow/models/flux/blocks.h"

#include <ATen/ATen.h>

#include "resflow/nn/attention.h"

namespace resflow::models {
namespace {

// A few of FLUX's tokens outgrow float16.
Tensor within_half(const Tensor& x) { return x.scalar_type() == at::kHalf ? x.clamp(-65504, 65504) : x; }

// Queries, keys and values of one kind of tokens, or of several joined. [B, H, L, E] each
struct Heads {
  Tensor query;  // undefined: the tokens are not there
  KeyValue given;
};

Heads join(const Heads& first, const Heads& second) {
  return {.query = at::cat({first.query, second.query}, 2),
          .given = {at::cat({first.given.key, second.given.key}, 2), at::cat({first.given.value, second.given.value}, 2)}};
}

Tensor attend(const Tensor& query, const KeyValue& to) { return nn::join_heads(nn::attention(query, to.key, to.value)); }

struct Attended {
  Tensor main, condition;  // [B, L, D]
};

// main: text and image. condition: its tokens, or none; cached: their keys and values in their place, or empty.
Attended attend(const Heads& main, const Heads& condition, const KeyValue& cached, ConditionAttention attention) {
  const bool tokens = condition.query.defined();
  if (!tokens && !cached.key.defined()) return {.main = attend(main.query, main.given)};
  const int64_t batch = main.query.size(0), length = main.query.size(2);
  if (tokens && attention == ConditionAttention::full) {
    const Heads all = join(main, condition);
    const Tensor attended = attend(all.query, all.given);
    return {.main = attended.narrow(1, 0, length), .condition = attended.narrow(1, length, condition.query.size(2))};
  }
  const KeyValue& seen = tokens ? condition.given : cached;
  const auto spread = [&](const Tensor& t) { return t.size(0) == batch ? t : t.expand({batch, -1, -1, -1}); };  // one image's for all candidates
  const KeyValue all{at::cat({main.given.key, spread(seen.key)}, 2), at::cat({main.given.value, spread(seen.value)}, 2)};
  return {.main = attend(main.query, all), .condition = tokens ? attend(condition.query, condition.given) : Tensor()};
}

// One kind of tokens on its way into a double-stream block's attention.
struct Entered {
  TokenStream::Modulation modulation;
  Heads heads;
};

Entered enter(const TokenStream& stream, const Tensor& x, const Tensor& temb, const nn::Rope& rope, nn::Branch branch = nn::Branch::main) {
  const auto modulation = stream.modulation(temb, branch);
  const Tensor h = stream.before(x, modulation);  // [B, L, D]
  return {modulation, {.query = stream.attn.query(h, rope, branch), .given = stream.attn.key_value(h, rope, branch)}};
}

}  // namespace

FluxDoubleBlock::FluxDoubleBlock(Module& parent, const std::string& name, const BlockConfig& config)
    : Module(parent, name), image_(*this, config), text_(*this, config, kTextStream) {}

FluxTokens FluxDoubleBlock::forward(const FluxTokens& x, const FluxSteering& by, const KeyValue& cached) const {
  const Entered image = enter(image_, x.image, by.temb, by.image_rope), text = enter(text_, x.text, by.temb, by.text_rope);
  Entered condition;
  if (x.condition.defined()) condition = enter(image_, x.condition, by.condition_temb, by.condition_rope, nn::Branch::condition);
  const Attended attended = attend(join(text.heads, image.heads), condition.heads, cached, by.attention);

  const int64_t count = x.text.size(1);
  FluxTokens out{.image = image_.after(x.image, attended.main.narrow(1, count, x.image.size(1)), image.modulation),
                 .text = within_half(text_.after(x.text, attended.main.narrow(1, 0, count), text.modulation))};
  if (x.condition.defined()) out.condition = image_.after(x.condition, attended.condition, condition.modulation, nn::Branch::condition);
  return out;
}

Tensor FluxDoubleBlock::forward_condition(const Tensor& c, const FluxSteering& by, KeyValue& given) const {
  const Entered entered = enter(image_, c, by.condition_temb, by.condition_rope, nn::Branch::condition);
  given = entered.heads.given;
  return image_.after(c, attend(entered.heads.query, given), entered.modulation, nn::Branch::condition);
}

FluxSingleBlock::FluxSingleBlock(Module& parent, const std::string& name, const BlockConfig& config)
    : Module(parent, name),
      norm_linear_(*this, "norm.linear", config.width, 3 * config.width),
      attn_(*this, "attn", config, {.to_out = nullptr}),
      proj_mlp_(*this, "proj_mlp", config.width, config.mlp_ratio * config.width),
      proj_out_(*this, "proj_out", (1 + config.mlp_ratio) * config.width, config.width) {}

struct FluxSingleBlock::Stream {
  Tensor gate, network;  // [B, 1, D], [B, L, M]
  Heads heads;
};

FluxSingleBlock::Stream FluxSingleBlock::enter(const Tensor& x, const Tensor& temb, const nn::Rope& rope, nn::Branch branch) const {
  const auto modulation = norm_linear_.forward(at::silu(temb), branch).unsqueeze(1).chunk(3, -1);  // 3 x [B, 1, D]
  const Tensor &shift = modulation[0], &scale = modulation[1], &gate = modulation[2];
  const Tensor h = nn::plain_layer_norm(x) * (1 + scale) + shift;
  return {.gate = gate,
          .network = at::gelu(proj_mlp_.forward(h, branch), "tanh"),
          .heads = {.query = attn_.query(h, rope, branch), .given = attn_.key_value(h, rope, branch)}};
}

Tensor FluxSingleBlock::leave(const Tensor& x, const Tensor& attended, const Stream& stream, nn::Branch branch) const {
  return within_half(x + stream.gate * proj_out_.forward(at::cat({attended, stream.network}, -1), branch));  // [B, L, D]
}

FluxSingleBlock::Tokens FluxSingleBlock::forward(const Tokens& x, const FluxSteering& by, const KeyValue& cached) const {
  const Stream main = enter(x.main, by.temb, by.rope, nn::Branch::main);
  Stream condition;
  if (x.condition.defined()) condition = enter(x.condition, by.condition_temb, by.condition_rope, nn::Branch::condition);
  const Attended attended = attend(main.heads, condition.heads, cached, by.attention);
  Tokens out{.main = leave(x.main, attended.main, main, nn::Branch::main)};
  if (x.condition.defined()) out.condition = leave(x.condition, attended.condition, condition, nn::Branch::condition);
  return out;
}

Tensor FluxSingleBlock::forward_condition(const Tensor& c, const FluxSteering& by, KeyValue& given) const {
  const Stream stream = enter(c, by.condition_temb, by.condition_rope, nn::Branch::condition);
  given = stream.heads.given;
  return leave(c, attend(stream.heads.query, given), stream, nn::Branch::condition);
}

}  // namespace resflow::models
