// x-labs' adapters (XLabs-AI/x-flux, src/flux/modules/layers.py): attention alone, its weights in "processors", 1 of the image and 2 of the text.
#include <array>

#include "resflow/weights/lora_reader.h"

namespace resflow::weights {
namespace {

struct Processor {
  std::string_view name;
  LoraTarget target;
};

const std::array<Processor, 4>& of_double() {
  static const std::array<Processor, 4> list = {{
      {"qkv_lora1", {{"attn.to_q", "attn.to_k", "attn.to_v"}, FluxRows::thirds}},
      {"proj_lora1", {{"attn.to_out.0"}}},
      {"qkv_lora2", {{"attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"}, FluxRows::thirds}},
      {"proj_lora2", {{"attn.to_add_out"}}},
  }};
  return list;
}

const std::array<Processor, 2>& of_single() {
  static const std::array<Processor, 2> list = {{
      {"qkv_lora", {{"attn.to_q", "attn.to_k", "attn.to_v"}, FluxRows::thirds}},  // of linear1's rows those of the attention
      {"proj_lora", {{"proj_out"}}},
  }};
  return list;
}

std::optional<LoraTarget> target_of(const std::string& name) {
  const auto within = [&](std::string_view theirs, const std::string& ours, const auto& processors) -> std::optional<LoraTarget> {
    const auto dot = name.find('.', theirs.size());
    if (!name.starts_with(theirs) || dot == std::string::npos) return std::nullopt;
    const auto block = ours + name.substr(theirs.size(), dot - theirs.size() + 1);
    for (const auto& processor : processors) {
      if (name.substr(dot) != ".processor." + std::string(processor.name)) continue;
      LoraTarget target = processor.target;
      for (auto& part : target.names) part = block + part;
      return target;
    }
    return std::nullopt;
  };
  if (const auto found = within("double_blocks.", "transformer_blocks.", of_double())) return found;
  return within("single_blocks.", "single_transformer_blocks.", of_single());
}

bool reads(const LoraKeys& keys) {
  return std::any_of(keys.modules.begin(), keys.modules.end(),
                     [](const auto& parts) { return parts.module.find(".processor.") != std::string::npos; });
}

void read(const TensorFile&, LoraKeys& keys, Lora& lora) {
  keys.unmatched = keys.others;
  for (const auto& parts : keys.modules) {
    if (const auto target = target_of(without_lora_prefix(parts.module))) {
      add_lora_module(lora, parts, *target);
    } else {
      keys.unmatched.insert(keys.unmatched.end(), parts.keys.begin(), parts.keys.end());
    }
  }
}

}  // namespace

const LoraReader& xlabs_lora_reader() {
  static const LoraReader reader{"x-labs", reads, read};
  return reader;
}

}  // namespace resflow::weights
