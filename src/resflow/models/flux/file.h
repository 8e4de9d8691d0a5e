// FLUX.1's transformer as it is on the disk: a folder of diffusers, a single file of BFL, ComfyUI or stable-diffusion.cpp, safetensors or GGUF.
#pragma once

#include <filesystem>

#include "resflow/models/flux/config.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::models {

struct FluxFile {
  FluxConfig config;
  weights::TensorFile weights;  // under diffusers' names, without a prefix
};

// A folder with config.json and weights beside it, or one file of weights. Throws UserError.
FluxFile open_flux(const std::filesystem::path& path);

// The shape of a transformer that comes without a configuration, from its tensors under diffusers' names. What they do not tell: positions turn
// 1/8, 7/16 and 7/16 of a head (16, 56, 56 of 128), and a token's patch is 1, as in all of FLUX.1. Throws UserError where that cannot be.
FluxConfig flux_config_of(const weights::TensorFile& file);

// The configuration as diffusers writes it into config.json.
Json flux_config_json(const FluxConfig& config);

}  // namespace resflow::models
