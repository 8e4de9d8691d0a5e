#pragma once

#include "resflow/degradation/planes.h"

namespace resflow::degradation {

// The three modes of torch's F.interpolate(align_corners=False, antialias=False) that the recipe draws from.
enum class Interpolation { area, bilinear, bicubic };

// To the given size. `factor` 0: pixel centres follow from the two sizes. Otherwise the centres are `1 / factor` apart, as
// F.interpolate(scale_factor=factor) has it, which differs where the size was rounded down.
Planes resize(const Planes& image, int64_t height, int64_t width, Interpolation mode, double factor = 0);

}  // namespace resflow::degradation
