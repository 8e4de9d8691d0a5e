// What a fusion adds to FLUX, as files that other programs read.
#pragma once

#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "resflow/models/fusion/flux_fusion.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::models {

// tensors: the fusion's, under its own names ("lora.", "condition_embedder.", "controlnet."), on the CPU.
// sequence, addition: adapter.safetensors, in PEFT's form with ranks and alphas in the metadata, as diffusers loads it (and for addition
// condition_embedder.safetensors beside it). controlnet: controlnet/, a folder of diffusers. Each file is written whole or not at all. Throws
// UserError. The adapter's metadata has the whole configuration too, under "resflow.fusion".
void export_fusion(const std::filesystem::path& folder, const FluxFusion& fusion, const std::vector<std::pair<std::string, Tensor>>& tensors);
// How an adapter was trained, as export_fusion() wrote it down; nullopt: the file does not say. Throws UserError where what it says is none.
std::optional<FusionConfig> recorded_fusion(const weights::TensorFile& adapter);

// Beside an adapter of addition: the map's weights.
inline constexpr const char* kConditionEmbedder = "condition_embedder.safetensors";

}  // namespace resflow::models
