// Adapters under BFL's own names with dots: BFL's control models (flux1-canny-dev-lora, flux1-depth-dev-lora: with biases, and norms that replace
// the model's), ComfyUI's ("diffusion_model."), and PEFT's of BFL's code ("base_model.model.").
#include "resflow/weights/lora_reader.h"

namespace resflow::weights {
namespace {

bool reads(const LoraKeys& keys) {
  return std::any_of(keys.modules.begin(), keys.modules.end(),
                     [](const auto& parts) { return bfl_lora_target(without_lora_prefix(parts.module)).has_value(); });
}

void read(const TensorFile& file, LoraKeys& keys, Lora& lora) {
  constexpr std::string_view kScale = ".scale";
  for (const auto& key : keys.others) {
    const auto target = key.ends_with("_norm.scale") ? bfl_lora_target(without_lora_prefix(key.substr(0, key.size() - kScale.size()))) : std::nullopt;
    if (target) {
      lora.replacements.emplace_back(target->names.at(0) + ".weight", file.get(key));
    } else {
      keys.unmatched.push_back(key);
    }
  }
  for (const auto& parts : keys.modules) {
    if (const auto target = bfl_lora_target(without_lora_prefix(parts.module))) {
      add_lora_module(lora, parts, *target);
    } else {
      keys.unmatched.insert(keys.unmatched.end(), parts.keys.begin(), parts.keys.end());
    }
  }
}

}  // namespace

const LoraReader& bfl_lora_reader() {
  static const LoraReader reader{"bfl", reads, read};
  return reader;
}

}  // namespace resflow::weights
