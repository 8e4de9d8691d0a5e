// A ControlNet for FLUX as it is on the disk: a folder or file of diffusers, or x-labs' single file (x-flux: src/flux/controlnet.py), whose names are
// BFL's and whose little network for the picture is a numbered list.
#pragma once

#include <filesystem>

#include "resflow/models/fusion/control_net.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::models {

// Whether a file holds a ControlNet, under either naming.
bool has_flux_control(const weights::TensorFile& file);

struct FluxControlFile {
  FluxControlConfig config;
  weights::TensorFile weights;  // under diffusers' names
};

// Where no config.json lies beside the weights in a folder, the shape is read off the tensors; what these do not tell is FLUX.1's (flux/file.h).
// Throws UserError.
FluxControlFile open_flux_control(const std::filesystem::path& path);

// The configuration as diffusers writes it into config.json.
Json flux_control_config_json(const FluxControlConfig& config);

}  // namespace resflow::models
