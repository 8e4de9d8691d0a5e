#include "resflow/weights/lora_omini.h"

#include <array>
#include <set>

#include "resflow/weights/lora_reader.h"

namespace resflow::weights {
namespace {

constexpr std::array<std::string_view, 13> kModules = {
    "x_embedder",
    "transformer_blocks.#.norm1.linear",
    "transformer_blocks.#.attn.to_q",
    "transformer_blocks.#.attn.to_k",
    "transformer_blocks.#.attn.to_v",
    "transformer_blocks.#.attn.to_out.0",
    "transformer_blocks.#.ff.net.2",
    "single_transformer_blocks.#.norm.linear",
    "single_transformer_blocks.#.proj_mlp",
    "single_transformer_blocks.#.proj_out",
    "single_transformer_blocks.#.attn.to_q",
    "single_transformer_blocks.#.attn.to_k",
    "single_transformer_blocks.#.attn.to_v",
};

// "transformer_blocks.12.attn.to_q" -> "transformer_blocks.#.attn.to_q"
std::string without_number(const std::string& name) {
  const auto first = name.find('.');
  const auto second = first == std::string::npos ? first : name.find('.', first + 1);
  if (second == std::string::npos || name.find("transformer_blocks.") == std::string::npos) return name;
  return name.substr(0, first + 1) + "#" + name.substr(second);
}

bool reads(const LoraKeys& keys) {
  std::set<std::string> kinds;
  for (const auto& parts : keys.modules) kinds.insert(without_number(without_lora_prefix(parts.module)));
  return kinds == std::set<std::string>(kModules.begin(), kModules.end());
}

void read(const TensorFile& file, LoraKeys& keys, Lora& lora) {
  lora.tokens = nn::LoraTokens::condition;
  peft_lora_reader().read(file, keys, lora);
}

}  // namespace

std::span<const std::string_view> omini_modules() { return kModules; }

const LoraReader& omini_lora_reader() {
  static const LoraReader reader{"omini-control", reads, read};
  return reader;
}

}  // namespace resflow::weights
