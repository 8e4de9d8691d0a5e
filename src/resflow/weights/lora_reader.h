// The formats of adapter files, one reader each. Internal to weights/.
#pragma once

#include <string_view>

#include "resflow/weights/lora_keys.h"

namespace resflow::weights {

struct LoraReader {
  std::string_view format;
  bool (*reads)(const LoraKeys& keys);
  // Fills lora's modules, replacements and tokens; what has no place goes to keys.unmatched.
  void (*read)(const TensorFile& file, LoraKeys& keys, Lora& lora);
};

const LoraReader& xlabs_lora_reader();
const LoraReader& kohya_lora_reader();
const LoraReader& bfl_lora_reader();
const LoraReader& omini_lora_reader();  // PEFT's files with OminiControl's modules
const LoraReader& peft_lora_reader();   // all the rest: an unknown name shows when it is attached

}  // namespace resflow::weights
