// Initial weights for training from scratch.
#pragma once

#include "resflow/core/rng.h"

namespace resflow::nn {

// Uniform in +-gain * sqrt(3 / fan_in), fan_in = the product of all sizes but the first: variance gain^2 / fan_in.
Tensor uniform_fan_in(const Stream& stream, at::IntArrayRef shape, double gain = 1.0);

}  // namespace resflow::nn
