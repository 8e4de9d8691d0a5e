#include "resflow/rewards/clip_input.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace resflow::rewards {
namespace {

constexpr std::array<float, 3> kMean = {0.48145466F, 0.4578275F, 0.40821073F};
constexpr std::array<float, 3> kDeviation = {0.26862954F, 0.26130258F, 0.27577711F};

Tensor per_channel(const std::array<float, 3>& values, const Tensor& like) {
  return at::tensor(at::ArrayRef<float>(values.data(), values.size()), at::kFloat).view({1, 3, 1, 1}).to(like.device());
}

// Where the middle begins; halves go to the even number, as Python rounds.
int64_t margin(int64_t size, int64_t side) { return static_cast<int64_t>(std::nearbyint(static_cast<double>(size - side) / 2)); }

}  // namespace

Tensor clip_normalised(const Tensor& images) {
  check_shape(images, "N 3 H W", "images");
  const Tensor x = images.to(at::kFloat).clamp(0, 1);
  return (x - per_channel(kMean, x)) / per_channel(kDeviation, x);
}

Tensor clip_input(const Tensor& images, int64_t side) {
  check_shape(images, "N 3 H W", "images");
  const int64_t height = images.size(2), width = images.size(3), shorter = std::min(height, width);
  const int64_t to_height = side * height / shorter, to_width = side * width / shorter;
  Tensor x = images.to(at::kFloat).clamp(0, 1);
  if (to_height != height || to_width != width) x = at::_upsample_bicubic2d_aa(x, {to_height, to_width}, false);
  x = x.narrow(2, margin(to_height, side), side).narrow(3, margin(to_width, side), side);  // [N, 3, side, side]
  return clip_normalised(x);
}

}  // namespace resflow::rewards
