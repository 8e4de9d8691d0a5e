// An autoencoder as it is on the disk: a folder of diffusers, or a single file (BFL's ae.safetensors, TAEF1, a part of an all-in-one file).
#pragma once

#include <filesystem>
#include <memory>

#include "resflow/autoencoders/autoencoder.h"
#include "resflow/weights/load.h"

namespace resflow::autoencoders {

// A folder with config.json and weights beside it, or one file of weights, whose shape is then read off the tensors. What these do not tell: norms
// of 32 groups; a latent of 16 channels is FLUX's (scaling 0.3611, shift 0.1159), one of 4 Stable Diffusion's. Throws UserError.
std::unique_ptr<Autoencoder> load_autoencoder(const std::filesystem::path& path, const weights::Conversion& conversion = {});

// diffusers' configuration for tensors that come without one, under diffusers' names. Throws UserError.
Json autoencoder_config_of(const weights::TensorFile& file);

}  // namespace resflow::autoencoders
