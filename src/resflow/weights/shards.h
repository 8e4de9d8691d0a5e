// Models in several files: Hugging Face's shards, "model-00001-of-00003.safetensors" and so on, and the index that lists which tensor is in
// which. Internal to weights/: TensorFile::open() gives them as one.
#pragma once

#include <filesystem>
#include <memory>

#include "resflow/weights/tensor_source.h"

namespace resflow::weights {

// "....index.json"
bool is_shard_index(const std::filesystem::path& path);

// The file or index of weights that is meant: `path` itself, or in a folder the one that diffusers or transformers name so
// ("diffusion_pytorch_model.safetensors.index.json", "model.safetensors", ...), else its only file of tensors. Throws UserError where a folder
// has none, or several.
std::filesystem::path weights_at(const std::filesystem::path& path);

// All shards, opened and checked: {"metadata": {...}, "weight_map": {"tensor": "shard"}}. Throws UserError: an index that is none, a shard that
// is missing or not beside it, a tensor that its shard does not hold, or that two of them hold. Tensors that the index leaves out are there too.
std::shared_ptr<const TensorSource> open_shards(const std::filesystem::path& index);

}  // namespace resflow::weights
