// What the metrics look at: luma or colours on the 0..255 scale, local weighted means.
#pragma once

#include <array>
#include <vector>

#include "resflow/core/tensor.h"
#include "resflow/rewards/metric.h"

namespace resflow::rewards {

// BT.601 luma of 8-bit video, 16..235, not rounded. rgb: [1, 3, H, W], 0..1 -> double [1, 1, H, W]
Tensor luma(const Tensor& rgb);
// float [1, 3, 1, 1]
Tensor per_channel(const std::array<float, 3>& values);
// What a full-reference metric compares: luma or R, G, B (0..255), less the border. -> double [1, 1 or 3, H - 2c, W - 2c].
// Checks the shapes; throws UserError where less than `smallest` pixels are left on a side.
struct Compared {
  Tensor prediction, reference;
};
Compared compared(const Tensor& prediction, const Tensor& reference, const MetricOptions& options, int64_t smallest);

// A normalised Gaussian of 2 * radius + 1 taps.
std::vector<double> gaussian_taps(double sigma, int64_t radius);
// The taps along rows and along columns, where they fit whole. x: [B, C, H, W] -> [B, C, H - n + 1, W - n + 1]. In shifted sums:
// a convolution in double precision would hold a copy of the picture per tap.
Tensor windowed_mean(const Tensor& x, const std::vector<double>& taps);

}  // namespace resflow::rewards
