#include "resflow/rewards/channels.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "resflow/core/error.h"

namespace resflow::rewards {

Tensor luma(const Tensor& rgb) {
  const auto bytes = rgb.to(at::kCPU, at::kDouble) * 255.0;
  return (bytes.narrow(1, 0, 1) * 65.481 + bytes.narrow(1, 1, 1) * 128.553 + bytes.narrow(1, 2, 1) * 24.966) / 255.0 + 16.0;
}

Tensor per_channel(const std::array<float, 3>& values) {
  return at::tensor(at::ArrayRef<float>(values.data(), values.size()), at::kFloat).view({1, 3, 1, 1});
}

Compared compared(const Tensor& prediction, const Tensor& reference, const MetricOptions& options, int64_t smallest) {
  check_shape(prediction, "1 3 H W", "prediction");
  check_shape(reference, "1 3 H W", "reference");
  TORCH_CHECK(prediction.sizes() == reference.sizes(), "prediction ", prediction.sizes(), " and reference ", reference.sizes(), " differ in size");
  const int64_t c = options.crop_border, height = prediction.size(2) - 2 * c, width = prediction.size(3) - 2 * c;
  if (height < smallest || width < smallest)
    throw_user_error({.problem = "picture too small",
                      .wanted = fmt::format("at least {0}x{0} pixels with a border of {1} left out", smallest + 2 * c, c),
                      .got = fmt::format("{}x{}", prediction.size(3), prediction.size(2))});
  const auto prepare = [&](const Tensor& image) {
    const auto inner = image.narrow(2, c, height).narrow(3, c, width);
    return options.luma ? luma(inner) : inner.to(at::kCPU, at::kDouble) * 255.0;
  };
  return {prepare(prediction), prepare(reference)};
}

std::vector<double> gaussian_taps(double sigma, int64_t radius) {
  std::vector<double> taps;
  double sum = 0;
  for (int64_t i = -radius; i <= radius; ++i) {
    taps.push_back(std::exp(-0.5 * static_cast<double>(i * i) / (sigma * sigma)));
    sum += taps.back();
  }
  for (auto& tap : taps) tap /= sum;
  return taps;
}

Tensor windowed_mean(const Tensor& x, const std::vector<double>& taps) {
  auto out = x;
  for (const int64_t axis : {2, 3}) {
    const int64_t size = out.size(axis) - static_cast<int64_t>(taps.size()) + 1;
    auto sum = out.narrow(axis, 0, size) * taps[0];
    for (size_t i = 1; i < taps.size(); ++i) sum.add_(out.narrow(axis, static_cast<int64_t>(i), size), taps[i]);
    out = sum;
  }
  return out;
}

}  // namespace resflow::rewards
