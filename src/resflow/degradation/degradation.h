// Makes a poor picture of a good one, as cameras, the web and re-saving do: Real-ESRGAN's second-order degradation.
#pragma once

#include "resflow/core/rng.h"
#include "resflow/core/tensor.h"
#include "resflow/degradation/plan.h"
#include "resflow/degradation/recipe.h"

namespace resflow::degradation {

// image: float [3, H, W], 0..1, CPU, contiguous; H and W multiples of scale (1..8).
// -> float [3, H / scale, W / scale], multiples of 1/255. The same stream gives the same pixels. One thread; needs
// memory for at most about four more copies of the picture (reached where the first resize magnifies by 1.5).
Tensor degrade(const Tensor& image, const Recipe& recipe, int scale, Stream stream);

// The same with the dice already thrown; `stream` then only feeds the noise.
Tensor apply_plan(const Tensor& image, const Plan& plan, int scale, const Stream& stream);

}  // namespace resflow::degradation
