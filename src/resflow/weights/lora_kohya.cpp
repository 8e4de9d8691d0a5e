// kohya's adapters (kohya-ss/sd-scripts, networks/lora_flux.py): names with underscores for dots, BFL's after "lora_unet_", or diffusers' after
// "lora_transformer_" (OneTrainer's). Scale: alpha / rank, of the last layer too, whose alpha diffusers 0.42 passes over.
#include <array>

#include "resflow/weights/lora_reader.h"

namespace resflow::weights {
namespace {

constexpr std::array<std::string_view, 2> kPrefixes = {"lora_unet_", "lora_transformer_"};

std::string_view prefix_of(const std::string& name) {
  for (const auto prefix : kPrefixes)
    if (name.starts_with(prefix)) return prefix;
  return {};
}

bool reads(const LoraKeys& keys) {
  return std::any_of(keys.modules.begin(), keys.modules.end(), [](const auto& parts) { return !prefix_of(parts.module).empty(); });
}

void read(const TensorFile&, LoraKeys& keys, Lora& lora) {
  keys.unmatched = keys.others;
  for (const auto& parts : keys.modules) {
    const auto prefix = prefix_of(parts.module);
    const auto target = prefix.empty() ? std::nullopt : underscored_lora_target(parts.module.substr(prefix.size()));
    if (target) {
      add_lora_module(lora, parts, *target);
    } else {
      keys.unmatched.insert(keys.unmatched.end(), parts.keys.begin(), parts.keys.end());
    }
  }
}

}  // namespace

const LoraReader& kohya_lora_reader() {
  static const LoraReader reader{"kohya", reads, read};
  return reader;
}

}  // namespace resflow::weights
