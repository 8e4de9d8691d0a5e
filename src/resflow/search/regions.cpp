#include "resflow/search/regions.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace resflow::search {

Tensor span_weights(int64_t regions, int64_t size) {
  const double span = static_cast<double>(size) / static_cast<double>(regions);
  Tensor out = at::zeros({regions, size}, at::kDouble);
  auto weights = out.accessor<double, 2>();
  // Share of what lies beyond a border: 0 -> 1 from the middle of the span before it to that of the next.
  const auto beyond = [&](int64_t border, double at) {
    if (border == 0) return 1.0;
    if (border == regions) return 0.0;
    const double along = std::clamp((at - static_cast<double>(border) * span) / span + 0.5, 0.0, 1.0);
    return 0.5 - 0.5 * std::cos(std::numbers::pi * along);
  };
  for (int64_t k = 0; k < regions; ++k)
    for (int64_t i = 0; i < size; ++i) weights[k][i] = beyond(k, static_cast<double>(i) + 0.5) - beyond(k + 1, static_cast<double>(i) + 0.5);
  return out;
}

Tensor in_tones_of(const Tensor& images, int64_t base, int64_t regions) {
  const Tensor apart = images.narrow(0, base, 1) - images;
  const Tensor tones = at::adaptive_avg_pool2d(apart, {std::min(2 * regions, images.size(2)), std::min(2 * regions, images.size(3))});
  return images + at::upsample_bilinear2d(tones, {images.size(2), images.size(3)}, /*align_corners=*/false);
}

Tensor mixture(const Tensor& images, const std::vector<int64_t>& choice) {
  const auto side = std::llround(std::sqrt(static_cast<double>(choice.size())));
  TORCH_CHECK(images.dim() == 4 && side * side == static_cast<int64_t>(choice.size()), "mixture: wanted images [N, C, h, w] and a square grid");
  const Tensor rows = span_weights(side, images.size(2)), columns = span_weights(side, images.size(3));
  Tensor out = at::zeros_like(images.narrow(0, 0, 1));
  for (int64_t i = 0; i < images.size(0); ++i) {
    Tensor taken = at::zeros({side, side}, at::kDouble);
    for (size_t r = 0; r < choice.size(); ++r)
      if (choice[r] == i) taken.data_ptr<double>()[r] = 1;
    if (taken.any().item<bool>()) out += images.narrow(0, i, 1) * rows.t().matmul(taken).matmul(columns).to(images.options());
  }
  return out;
}

}  // namespace resflow::search
