// Names of AutoencoderKL: latent diffusion's own (BFL's ae.safetensors, Stable Diffusion's single files) and diffusers'. Source: diffusers'
// loaders/single_file_utils.py, convert_ldm_vae_checkpoint.
#pragma once

#include "resflow/weights/tensor_file.h"

namespace resflow::weights {

// Whether there is an AutoencoderKL in the file, under either naming and any prefix ("vae.", "first_stage_model.").
bool has_autoencoder(const TensorFile& file);

// The AutoencoderKL of a file under diffusers' names, whatever the file's, without a prefix. The attention's 1 x 1 convolutions become linear
// maps. No weight is copied. Throws UserError where the file has none.
TensorFile autoencoder_as_diffusers(const TensorFile& file);
// The same under BFL's names.
TensorFile autoencoder_as_bfl(const TensorFile& file);

}  // namespace resflow::weights
