#include "resflow/models/fusion/flux_fusion.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "resflow/models/fusion/control_file.h"

namespace resflow::models {
namespace {

// A ControlNet's blocks may be fewer and its heads others; what it shares with the transformer may not.
void check_control(const FluxConfig& flux, const FluxControlConfig& control) {
  const FluxConfig& trunk = control.trunk;
  const auto words = [](const FluxConfig& config) {
    return fmt::format("width {}, tokens of {}, texts of {} and {}", config.width(), config.in_channels, config.joint_attention_dim,
                       config.pooled_projection_dim);
  };
  if (words(trunk) == words(flux)) return;
  throw_user_error({.where = "ControlNet", .problem = "it was made for another transformer", .wanted = words(flux), .got = words(trunk)});
}

Tensor for_batch(const Tensor& tensor, int64_t batch) {
  if (tensor.size(0) == batch) return tensor;
  std::vector<int64_t> sizes(static_cast<size_t>(tensor.dim()), -1);
  sizes[0] = batch;
  return tensor.expand(sizes);
}

}  // namespace

FluxFusion::FluxFusion(FluxTransformer& flux, const FusionConfig& config, const std::optional<FluxControlConfig>& control)
    : flux_(flux), config_(config) {
  TORCH_CHECK((config.fusion == "controlnet") == control.has_value(), "FluxFusion: a ControlNet's shape goes with that fusion, and with no other");
  if (control) {
    check_control(flux.config(), *control);
    control_net_.emplace(*control);
    adopt("controlnet", *control_net_);
  } else if (config.fusion == "addition") {
    condition_embedder_.emplace(*this, "condition_embedder", flux.config().in_channels, flux.config().width());
  }
}

FluxFusion::FluxFusion(FluxTransformer& flux, const FusionConfig& config) : flux_(flux), config_(config) {
  const FluxConfig& shape = flux.config();
  if (config.pictures() > 1 && config.fusion != "sequence")
    throw_user_error({.where = "fusion.condition", .problem = "two pictures need a sequence", .wanted = "lq or reference", .got = config.condition});
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
  const int64_t pictures = tokens.size(1) / (rows * columns);
  TORCH_CHECK(tokens.size(1) == pictures * rows * columns && pictures > 0 && (pictures == 1 || config_.fusion == "sequence"), "condition: wanted ",
              rows, " x ", columns, " tokens, got ", tokens.size(1));
  return {.tokens = tokens,
          .ids = condition_ids(rows, columns, config_.position, pictures).to(tokens.device()),
          .attention = config_.condition_attention == "full" ? ConditionAttention::full : ConditionAttention::independent,
          .blocks = {}};
}

FluxCondition FluxFusion::prepare(const Tensor& tokens, int64_t rows, int64_t columns, const Tensor& pooled) const {
  FluxCondition out = condition(tokens, rows, columns);
  if (config_.fusion == "sequence" && out.attention == ConditionAttention::independent) return flux_.prepare(std::move(out), pooled);
  return out;
}

nn::Module* FluxFusion::own_part() {
  if (control_net_) return &*control_net_;
  return condition_embedder_ ? &*condition_embedder_ : nullptr;
}

Tensor FluxFusion::forward(FluxInput input, const FluxCondition& condition, const ControlUse& use) const {
  const int64_t batch = input.hidden_states.size(0);
  if (config_.fusion == "sequence") {
    input.condition = condition;
    if (condition.blocks.empty()) input.condition.tokens = for_batch(condition.tokens, batch);
  } else if (config_.fusion == "addition") {
    input.addition = condition_embedder_->forward(condition.tokens.to(condition_embedder_->weight.scalar_type()));  // [B, L, D]
  } else {
    const Tensor mode = use.mode < 0 ? Tensor() : at::full({batch}, use.mode, input.hidden_states.options().dtype(at::kLong));
    FluxInput own = input;
    if (!control_net_->config().trunk.guidance_embeds) own.guidance = Tensor();
    input.residuals = control_net_->forward(own, for_batch(condition.tokens, batch), use.scale, mode);
  }
  if (!flux_.config().guidance_embeds) input.guidance = Tensor();
  return flux_.forward(input);
}

}  // namespace resflow::models
