#include "resflow/models/flux/trunk.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/nn/checkpoint.h"

namespace resflow::models {
namespace {

// A block of either kind, its inputs alone kept where a gradient is wanted. The embeddings are inputs too: they have a graph of their own.
FluxTokens run(const FluxDoubleBlock& block, const FluxTokens& x, const FluxSteering& by, const KeyValue& cached, bool checkpoint) {
  if (!checkpoint) return block.forward(x, by, cached);
  const auto part = [&block, by, cached](const std::vector<Tensor>& in) -> std::vector<Tensor> {
    FluxSteering own = by;
    own.temb = in[0], own.condition_temb = in[1];
    const auto out = block.forward({.image = in[2], .text = in[3], .condition = in[4]}, own, cached);
    return {out.image, out.text, out.condition};
  };
  const auto out = nn::checkpoint(part, {by.temb, by.condition_temb, x.image, x.text, x.condition});
  return {.image = out[0], .text = out[1], .condition = out[2]};
}

FluxSingleBlock::Tokens run(const FluxSingleBlock& block, const FluxSingleBlock::Tokens& x, const FluxSteering& by, const KeyValue& cached,
                            bool checkpoint) {
  if (!checkpoint) return block.forward(x, by, cached);
  const auto part = [&block, by, cached](const std::vector<Tensor>& in) -> std::vector<Tensor> {
    FluxSteering own = by;
    own.temb = in[0], own.condition_temb = in[1];
    const auto out = block.forward({.main = in[2], .condition = in[3]}, own, cached);
    return {out.main, out.condition};
  };
  const auto out = nn::checkpoint(part, {by.temb, by.condition_temb, x.main, x.condition});
  return {.main = out[0], .condition = out[1]};
}

}  // namespace

void move_beside_blocks(const nn::Module& model, c10::Device device) {
  for (const auto& tensor : model.named_parameters()) {
    if (tensor.name.find("transformer_blocks.") != std::string::npos) continue;
    if (tensor.slot->defined()) *tensor.slot = tensor.slot->to(device);
    if (tensor.quantised != nullptr && tensor.quantised->defined()) tensor.quantised->to(device, tensor.quantised->dtype);
  }
  for (const auto& [name, module] : model.named_modules())
    if (auto* linear = dynamic_cast<nn::Linear*>(module))
      for (auto& delta : linear->loras)
        for (Tensor* tensor : {&delta.down, &delta.up, &delta.bias})
          if (tensor->defined()) *tensor = tensor->to(device);
}

FluxTrunk::FluxTrunk(nn::Module& model, const FluxConfig& config)
    : config_(config),
      time_text_embed_(model, "time_text_embed", config),
      context_embedder_(model, "context_embedder", config.joint_attention_dim, config.width()),
      x_embedder_(model, "x_embedder", config.in_channels, config.width()) {
  config.check("FLUX");
  const BlockConfig block = config.block();
  for (int64_t i = 0; i < config.num_layers; ++i)
    transformer_blocks_.push_back(std::make_unique<FluxDoubleBlock>(model, fmt::format("transformer_blocks.{}", i), block));
  for (int64_t i = 0; i < config.num_single_layers; ++i)
    single_transformer_blocks_.push_back(std::make_unique<FluxSingleBlock>(model, fmt::format("single_transformer_blocks.{}", i), block));
}

void FluxTrunk::steer_condition(const FluxCondition& condition, const Tensor& pooled, FluxSteering& by) const {
  check_shape(condition.tokens, fmt::format("B C {}", x_embedder_.in()), "condition");
  check_shape(condition.ids, fmt::format("{} {}", condition.tokens.size(1), config_.axes_dims_rope.size()), "condition ids");
  const auto options = pooled.options().dtype(at::kFloat);
  const int64_t batch = pooled.size(0);
  by.attention = condition.attention;
  by.condition_rope = nn::make_rope(condition.ids, config_.axes_dims_rope);
  by.condition_temb =
      time_text_embed_.forward(at::zeros({batch}, options), config_.guidance_embeds ? at::ones({batch}, options) : Tensor(), pooled.to(dtype()));
}

Tensor FluxTrunk::forward(const FluxInput& input, const AfterBlock& after, Tensor& temb, const Tensor& text_prefix) const {
  check_shape(input.hidden_states, fmt::format("B L {}", x_embedder_.in()), "hidden_states");
  check_shape(input.encoder_hidden_states, fmt::format("B T {}", config_.joint_attention_dim), "encoder_hidden_states");
  const int64_t length = input.hidden_states.size(1);  // L
  check_shape(input.img_ids, fmt::format("{} {}", length, config_.axes_dims_rope.size()), "img_ids");
  check_shape(input.txt_ids, fmt::format("{} {}", input.encoder_hidden_states.size(1), config_.axes_dims_rope.size()), "txt_ids");

  FluxSteering by;
  by.temb = temb = time_text_embed_.forward(input.timestep, input.guidance, input.pooled.to(dtype()));  // [B, D]
  by.image_rope = nn::make_rope(input.img_ids, config_.axes_dims_rope);
  by.text_rope = nn::make_rope(input.txt_ids, config_.axes_dims_rope);

  FluxTokens tokens{.image = x_embedder_.forward(input.hidden_states.to(dtype())),                // [B, L, D]
                    .text = context_embedder_.forward(input.encoder_hidden_states.to(dtype()))};  // [B, T, D]
  if (input.addition.defined()) tokens.image = tokens.image + input.addition.to(dtype());
  if (text_prefix.defined()) {
    tokens.text = at::cat({text_prefix.to(dtype()), tokens.text}, 1);
    const Tensor ids = input.txt_ids.narrow(0, 0, 1).expand({text_prefix.size(1), -1});
    by.text_rope = nn::concatenate(nn::make_rope(ids, config_.axes_dims_rope), by.text_rope);
  }
  const bool conditioned = input.condition.tokens.defined(), cached = !input.condition.blocks.empty();
  TORCH_CHECK(!cached || input.condition.blocks.size() == blocks(), "FLUX: the condition was prepared for another model");
  if (conditioned && !cached) {
    steer_condition(input.condition, input.pooled, by);
    tokens.condition = x_embedder_.forward(input.condition.tokens.to(dtype()), nn::Branch::condition);  // [B, C, D]
  }
  const auto given = [&](size_t block) { return cached ? input.condition.blocks[block] : KeyValue{}; };

  TORCH_CHECK(!stream_ || !input.checkpoint, "FLUX: blocks that come in turns cannot be computed again for gradients");
  for (size_t i = 0; i < transformer_blocks_.size(); ++i) {
    const nn::LayerTurn here(stream_.get(), i);
    tokens = run(*transformer_blocks_[i], tokens, by, given(i), input.checkpoint);
    if (after) tokens.image = after(Kind::double_stream, i, tokens.image);
  }
  by.rope = nn::concatenate(by.text_rope, by.image_rope);
  const int64_t count = tokens.text.size(1);                                                                  // T
  FluxSingleBlock::Tokens x{.main = at::cat({tokens.text, tokens.image}, 1), .condition = tokens.condition};  // [B, T + L, D]
  for (size_t i = 0; i < single_transformer_blocks_.size(); ++i) {
    const nn::LayerTurn here(stream_.get(), transformer_blocks_.size() + i);
    x = run(*single_transformer_blocks_[i], x, by, given(transformer_blocks_.size() + i), input.checkpoint);
    if (!after) continue;
    const Tensor image = x.main.narrow(1, count, length), changed = after(Kind::single_stream, i, image);
    if (!changed.is_same(image)) x.main = at::cat({x.main.narrow(1, 0, count), changed}, 1);
  }
  return x.main.narrow(1, count, length);  // [B, L, D]
}

std::vector<KeyValue> FluxTrunk::prepare(const FluxCondition& condition, const Tensor& pooled) const {
  TORCH_CHECK(condition.attention == ConditionAttention::independent, "FLUX: a condition that attends to the image is another at every step");
  FluxSteering by;
  steer_condition(condition, pooled, by);
  std::vector<KeyValue> out;
  Tensor c = x_embedder_.forward(condition.tokens.to(dtype()), nn::Branch::condition);  // [B, C, D]
  const auto pass = [&](const auto& block) {
    const nn::LayerTurn here(stream_.get(), out.size());
    c = block->forward_condition(c, by, out.emplace_back());
  };
  for (const auto& block : transformer_blocks_) pass(block);
  for (const auto& block : single_transformer_blocks_) pass(block);
  return out;
}

std::vector<nn::Module*> FluxTrunk::block_modules() const {
  std::vector<nn::Module*> out;
  for (const auto& block : transformer_blocks_) out.push_back(block.get());
  for (const auto& block : single_transformer_blocks_) out.push_back(block.get());
  return out;
}

void FluxTrunk::stream_blocks(c10::Device device) {
  stream_.reset();
  if (blocks() > 0) stream_ = std::make_unique<nn::LayerStream>(block_modules(), device);
}

}  // namespace resflow::models
