// What a file of tensors is, told by the names in it.
#pragma once

#include <string_view>
#include <vector>

#include "resflow/weights/tensor_file.h"

namespace resflow::weights {

struct Family {
  std::string_view name;  // "flux-transformer"
  std::string_view what;  // "FLUX's transformer, BFL's naming"
  std::string_view use;   // "rewards of `resflow restore --search`"
};

// All that a file holds (an all-in-one file has several), in a fixed order; empty where nothing is known. Namings and prefixes: diffusers,
// BFL, ComfyUI's all-in-one ("model.diffusion_model.", "text_encoders."), llama.cpp's, kohya's, PEFT's, x-labs'.
std::vector<Family> families_of(const TensorFile& file);

}  // namespace resflow::weights
