#include "resflow/models/fusion/adapter.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "resflow/weights/lora_omini.h"

namespace resflow::models {
namespace {

// "transformer_blocks.12.attn.to_q" -> "transformer_blocks.#.attn.to_q"
std::string kind_of(const std::string& layer) {
  const auto first = layer.find("transformer_blocks."), dot = first == std::string::npos ? first : layer.find('.', first);
  const auto end = dot == std::string::npos ? dot : layer.find('.', dot + 1);
  return end == std::string::npos ? layer : layer.substr(0, dot + 1) + "#" + layer.substr(end);
}

}  // namespace

bool is_adapted(const std::string& layer) {
  const auto kinds = weights::omini_modules();
  return std::find(kinds.begin(), kinds.end(), kind_of(layer)) != kinds.end();
}

FluxAdapter::FluxAdapter(Module& parent, const std::string& name, FluxTransformer& flux, int64_t rank) : Module(parent, name), rank_(rank) {
  for (const auto& [layer, module] : flux.named_modules()) {
    auto* linear = dynamic_cast<nn::Linear*>(module);
    if (linear == nullptr || !is_adapted(layer)) continue;
    Delta& delta = *deltas_.emplace_back(std::make_unique<Delta>(Delta{.layer = layer, .target = linear, .down = {}, .up = {}}));
    declare(layer + ".lora_A.weight", delta.down, {rank, linear->in()});
    declare(layer + ".lora_B.weight", delta.up, {linear->out(), rank});
  }
}

void FluxAdapter::attach(double scale, nn::LoraTokens tokens) const {
  detach();
  for (const auto& delta : deltas_)
    delta->target->loras.push_back(
        {.down = delta->down, .up = delta->up, .bias = {}, .scale = scale, .tokens = tokens, .owner = reinterpret_cast<uintptr_t>(this)});
}

void FluxAdapter::detach() const {
  for (const auto& delta : deltas_)
    std::erase_if(delta->target->loras, [&](const nn::LoraDelta& lora) { return lora.owner == reinterpret_cast<uintptr_t>(this); });
}

// PEFT's "gaussian": down of deviation 1 / rank, up 0.
void FluxAdapter::initialise_own(const Stream& stream) {
  for (const auto& delta : deltas_) {
    delta->down = normal_like_shape(stream.child(delta->layer), {rank_, delta->target->in()}) / static_cast<double>(rank_);
    delta->up = at::zeros({delta->target->out(), rank_});
  }
}

}  // namespace resflow::models
