// The probe's operation on FLUX with adapters.
#pragma once

#include "fusion_operations.h"
#include "resflow/weights/lora_attach.h"

namespace resflow::probe {

// IN may hold "condition", a condition image's tokens, and "condition_ids" (with the number "full"). IN's metadata: "config", and "loras", a JSON
// list of {path, scale, merge, tokens: "all", "condition", ""}. "out" with all of them; where the model alone takes these inputs, "before" with none
// and "after" with them off again; "restored": 1 where every tensor is the model's again.
inline Outputs lora(const TensorFile& in) {
  models::FluxTransformer model(config_of<models::FluxConfig>(in, "config"));
  weights::load_strict(model, in, "model.");
  auto input = flux_input(in);
  if (in.contains("condition"))
    input.condition = {.tokens = in.get("condition"),
                       .ids = in.get("condition_ids"),
                       .attention = number(in, "full") != 0 ? models::ConditionAttention::full : models::ConditionAttention::independent,
                       .blocks = {}};
  const auto tensors = [&] {
    std::vector<Tensor> out;
    for (const auto& tensor : model.named_parameters()) out.push_back(*tensor.slot);
    return out;
  };
  const bool fits = input.hidden_states.size(2) == model.config().in_channels;
  const auto own = tensors();
  Outputs out;
  if (fits) out.emplace_back("before", model.forward(input));

  std::vector<weights::AttachedLora> attached;
  for (const auto& use : Json::parse(in.metadata().at("loras"))) {
    const auto lora = weights::read_lora(TensorFile::open(use.at("path").get<std::string>()));
    std::optional<nn::LoraTokens> tokens;
    if (const auto wanted = use.at("tokens").get<std::string>(); !wanted.empty())
      tokens = wanted == "all" ? nn::LoraTokens::all : nn::LoraTokens::condition;
    attached.push_back(weights::attach(model, lora, {.scale = use.at("scale"), .merge = use.at("merge"), .tokens = tokens}));
  }
  out.emplace_back("out", model.forward(input));
  for (auto one = attached.rbegin(); one != attached.rend(); ++one) weights::detach(*one);
  const auto again = tensors();
  bool restored = true;
  for (size_t i = 0; i < own.size(); ++i) restored = restored && own[i].is_same(again[i]);
  for (const auto& [name, module] : model.named_modules())
    if (const auto* linear = dynamic_cast<nn::Linear*>(module)) restored = restored && linear->loras.empty();
  out.emplace_back("restored", at::scalar_tensor(restored, at::kLong));
  if (fits) out.emplace_back("after", model.forward(input));
  return out;
}

}  // namespace resflow::probe
