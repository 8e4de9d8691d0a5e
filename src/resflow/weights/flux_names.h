// Names of FLUX.1's transformer: Black Forest Labs' own (their single files, ComfyUI's, GGUF files of city96 and stable-diffusion.cpp) and
// diffusers'. Sources: BFL's model.py, diffusers' scripts/convert_flux_to_diffusers.py.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "resflow/weights/tensor_file.h"

namespace resflow::weights {

// How the rows of BFL's tensor are diffusers'.
enum class FluxRows {
  same,
  thirds,         // q, k, v
  attention_mlp,  // q, k, v, as many rows each as the model is wide; the rest is the network's
  halves_turned,  // shift, scale here; scale, shift there
};

struct FluxName {
  std::string_view theirs;   // BFL's, without ".weight"; within a block, without the block's
  std::string_view ours[4];  // diffusers', as many as there are parts
  FluxRows rows = FluxRows::same;
};

// A norm's ".scale" at BFL is a ".weight" here.
std::span<const FluxName> flux_top_names();
std::span<const FluxName> flux_double_names();  // "double_blocks.N." + theirs, "transformer_blocks.N." + ours
std::span<const FluxName> flux_single_names();  // "single_blocks.N." + theirs, "single_transformer_blocks.N." + ours

enum class FluxNaming { bfl, diffusers };

struct FluxPart {
  FluxNaming naming;
  std::string prefix;  // "model.diffusion_model.", "transformer.", or ""
};
// Where in the file FLUX's transformer is; nothing where it is not there.
std::optional<FluxPart> find_flux(const TensorFile& file);

// FLUX's transformer under diffusers' names, whatever the file's, without a prefix; what diffusers fused (attn.to_qkv) apart again. No weight is
// copied but the last modulation. Throws UserError where the file has none.
TensorFile flux_as_diffusers(const TensorFile& file);
// The same under BFL's names; q, k and v are joined when they are asked for.
TensorFile flux_as_bfl(const TensorFile& file);

}  // namespace resflow::weights
