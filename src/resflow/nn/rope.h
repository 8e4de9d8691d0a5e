// Rotary position embedding over several axes, FLUX's form (diffusers: FluxPosEmbed, theta 10000, pairs interleaved).
#pragma once

#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::nn {

struct Rope {
  Tensor cos, sin;  // [L, E], each angle twice (interleaved pairs)
};

// ids [L, axes] (positions, any number type) -> tables. axes_dim: width given to each axis, even, their sum is the head's width
// E. Angles are computed in float64: bf16 ids collide past 256.
Rope make_rope(const Tensor& ids, const std::vector<int64_t>& axes_dim, double theta = 10000);

// Two sets of tokens one after the other.
Rope concatenate(const Rope& first, const Rope& second);

// x [B, H, L, E] -> the same, rotated.
Tensor apply_rope(const Tensor& x, const Rope& rope);

}  // namespace resflow::nn
