// Pictures that a denoiser is shown, as the tokens it takes them in.
#pragma once

#include <vector>

#include "resflow/core/tensor.h"
#include "resflow/generate/plan.h"

namespace resflow::generate {

inline constexpr int64_t kPatch = 2;  // latent pixels along a token's side

// [3, h, w], 0..1 -> [3, height, width], 0..1, by Lanczos where it is of another size (diffusers: VaeImageProcessor).
Tensor fitted(const Tensor& image, Size size);

// What is to be painted: 1 where the picture of a mask, [3, h, w], is half grey or brighter once it has the size, else 0. -> [1, 1, height, width]
Tensor binary_mask(const Tensor& mask, Size size);

// The picture without what is to be painted, which becomes mid-grey. [3, H, W], 0..1, and [1, 1, H, W] -> [1, 3, H, W]
Tensor masked(const Tensor& image, const Tensor& mask);

// A mask of pixels as tokens (diffusers: FluxFillPipeline.prepare_mask_latents): the reduction^2 pixels under a latent pixel are its channels.
// [1, 1, H, W] -> [1, L, 4 reduction^2]
Tensor mask_tokens(const Tensor& mask, int64_t reduction);

// Whether a ControlNet acts at this noise level: where the step that begins at it lies within `start` and `end`, shares of all that are visited
// (diffusers: control_guidance_start, control_guidance_end). sigmas: as they are visited, ending at 0.
bool control_acts(const std::vector<double>& sigmas, double sigma, double start, double end);

}  // namespace resflow::generate
