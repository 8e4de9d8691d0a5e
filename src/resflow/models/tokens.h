// Between feature maps and token sequences.
#pragma once

#include "resflow/core/tensor.h"

namespace resflow::models {

// [B, C, H, W] -> [B, (H/P)(W/P), C P P], row-major tokens; channel slowest inside a token (diffusers' packing).
Tensor patchify(const Tensor& map, int64_t patch);
// The inverse: tokens [B, L, C P P] -> [B, C, rows P, columns P].
Tensor unpatchify(const Tensor& tokens, int64_t patch, int64_t rows, int64_t columns);

// Position ids of an image's tokens: (axis0, row, column). -> [rows * columns, 3], float64 (bf16 ids collide past 256).
Tensor image_ids(int64_t rows, int64_t columns, double axis0 = 0);

// Additive mask [L, 2L] that lets a token see the latent and the condition tokens at most `radius` rows and columns away: what is
// computed for a token does not depend on the size of the image it stands in. columns [0, L) latent, [L, 2L) condition.
Tensor neighbourhood_mask(int64_t rows, int64_t columns, int64_t radius);

}  // namespace resflow::models
