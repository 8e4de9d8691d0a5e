#include "resflow/models/fusion/flux_fusion.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "resflow/models/fusion/control_file.h"

namespace resflow::models {

FluxFusion::FluxFusion(FluxTransformer& flux, const FusionConfig& config) : flux_(flux), config_(config) {
  const FluxConfig& shape = flux.config();
  if (config.fusion == "controlnet") {
    FluxControlConfig control;
    control.trunk = shape;
    control.trunk.num_layers = std::min(config.control_layers, shape.num_layers);
    control.trunk.num_single_layers = std::min(config.control_single_layers, shape.num_single_layers);
    control_net_.emplace(control);
    adopt("controlnet", *control_net_);
    return;
  }
  adapter_.emplace(*this, "lora", flux, config.rank);
  if (config.fusion == "addition")
    condition_embedder_.emplace(*this, "condition_embedder", shape.in_channels, shape.width(), nn::Linear::Options{.zero_init = true});
}

FluxFusion::~FluxFusion() {
  if (adapter_) adapter_->detach();
}

void FluxFusion::attach() const {
  if (adapter_) adapter_->attach(config_.lora_scale(), config_.lora_tokens());
}

void FluxFusion::copy_transformer() {
  if (!control_net_) return;
  std::map<std::string, const Tensor*> theirs;
  for (const auto& tensor : flux_.named_parameters()) theirs[tensor.name] = tensor.slot;
  for (const auto& tensor : control_net_->named_parameters()) {
    const auto found = theirs.find(tensor.name);
    if (found != theirs.end() && found->second->defined()) *tensor.slot = found->second->detach().to(at::kFloat).clone();
  }
}

Json FluxFusion::control_config() const {
  TORCH_CHECK(control_net_.has_value(), "FluxFusion: no ControlNet");
  return flux_control_config_json(control_net_->config());
}

FluxCondition FluxFusion::condition(const Tensor& tokens, int64_t rows, int64_t columns) const {
  check_shape(tokens, "B C " + std::to_string(flux_.config().in_channels), "condition");
  TORCH_CHECK(tokens.size(1) == rows * columns, "condition: wanted ", rows, " x ", columns, " tokens, got ", tokens.size(1));
  return {.tokens = tokens,
          .ids = condition_ids(rows, columns, config_.position).to(tokens.device()),
          .attention = config_.condition_attention == "full" ? ConditionAttention::full : ConditionAttention::independent,
          .blocks = {}};
}

FluxCondition FluxFusion::prepare(const Tensor& tokens, int64_t rows, int64_t columns, const Tensor& pooled) const {
  FluxCondition out = condition(tokens, rows, columns);
  if (config_.fusion == "sequence" && out.attention == ConditionAttention::independent) return flux_.prepare(std::move(out), pooled);
  return out;
}

Tensor FluxFusion::forward(FluxInput input, const FluxCondition& condition) const {
  if (config_.fusion == "sequence") {
    input.condition = condition;
  } else if (config_.fusion == "addition") {
    input.addition = condition_embedder_->forward(condition.tokens.to(condition_embedder_->weight.scalar_type()));  // [B, L, D]
  } else {
    input.residuals = control_net_->forward(input, condition.tokens);
  }
  return flux_.forward(input);
}

}  // namespace resflow::models
