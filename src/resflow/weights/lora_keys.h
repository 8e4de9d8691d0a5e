// The keys of an adapter file, sorted by module. Internal to weights/.
#pragma once

#include <string>
#include <vector>

#include "resflow/weights/flux_names.h"
#include "resflow/weights/lora.h"

namespace resflow::weights {

// What a file holds for one module.
struct LoraParts {
  std::string module;     // as the file calls it
  Tensor down, up, bias;  // undefined where absent
  std::optional<double> alpha;
  std::vector<std::string> keys;
};

struct LoraKeys {
  std::vector<LoraParts> modules;               // in the order of the file
  std::vector<std::string> others;              // keys with no ending that an adapter has
  std::map<std::string, int64_t> text_modules;  // encoder -> modules
  std::vector<std::string> unmatched;           // what a reader finds no place for; it adds to this
};

// Endings: lora_A, lora_down, lora.down and their other halves, with or without PEFT's adapter name; alpha. Throws UserError for adapters that
// are no LoRA.
LoraKeys sort_lora_keys(const TensorFile& file);

// Without any of the prefixes that stand before the transformer's names: "transformer.", "diffusion_model.", "base_model.model.", ...
std::string without_lora_prefix(const std::string& name);

// Where a module of the file goes: one of diffusers' names, or those of the parts that BFL has as one.
struct LoraTarget {
  std::vector<std::string> names;
  FluxRows rows = FluxRows::same;
};
// "double_blocks.0.img_attn.qkv", BFL's names. Nothing where it is none.
std::optional<LoraTarget> bfl_lora_target(const std::string& name);
// The same with underscores for dots, BFL's names or diffusers' ("transformer_blocks_0_attn_to_q").
std::optional<LoraTarget> underscored_lora_target(const std::string& name);

// Puts the parts of a file's module where they go; what was fused is cut: down is shared, up's rows are cut, and where up is of one block a
// part (a fused adapter made of several), down too. Throws UserError where it is half an adapter, or its shapes contradict each other.
// scale: alpha / rank where the file does not say.
void add_lora_module(Lora& lora, const LoraParts& parts, const LoraTarget& target, std::optional<double> scale = std::nullopt);

}  // namespace resflow::weights
