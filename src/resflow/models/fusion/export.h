// What a fusion adds to FLUX, as files that other programs read.
#pragma once

#include <filesystem>
#include <utility>
#include <vector>

#include "resflow/models/fusion/flux_fusion.h"

namespace resflow::models {

// tensors: the fusion's, under its own names ("lora.", "condition_embedder.", "controlnet."), on the CPU.
// sequence, addition: adapter.safetensors, in PEFT's form with ranks and alphas in the metadata, as diffusers loads it (and for addition
// condition_embedder.safetensors beside it). controlnet: controlnet/, a folder of diffusers. Each file is written whole or not at all. Throws
// UserError.
void export_fusion(const std::filesystem::path& folder, const FluxFusion& fusion, const std::vector<std::pair<std::string, Tensor>>& tensors);

}  // namespace resflow::models
