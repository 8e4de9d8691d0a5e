// Antialiased resizing, separable, as Pillow does it: the kernel is widened by the factor of reduction.
//
// Extra memory: per thread one block of rows of the new width (a few MB), whatever the picture's size.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::image {

// bicubic: a = -0.5 (Pillow, MATLAB). lanczos: a = 3. bilinear: triangle. area: exact coverage of each new pixel's footprint
// (the mean of the pixels at whole factors).
enum class Kernel { bicubic, lanczos, bilinear, area };
std::vector<std::string> kernel_names();
// Throws UserError for an unknown name.
Kernel kernel_named(const std::string& name);

// float [C, H, W] or [B, C, H, W] -> [.., height, width]. Borders renormalise (no padding). Bicubic and lanczos overshoot at
// edges: clamp where 0..1 matters. The same size returns a copy of the same values.
Tensor resize(const Tensor& image, int64_t height, int64_t width, Kernel kernel = Kernel::bicubic);

// A part of the resized picture, computed without the rest: equal to that part of resize(), bit for bit.
struct Region {
  int64_t y = 0, x = 0, height = 0, width = 0;  // of the new picture
};
Tensor resize_region(const Tensor& image, int64_t height, int64_t width, const Region& region, Kernel kernel = Kernel::bicubic);

}  // namespace resflow::image
