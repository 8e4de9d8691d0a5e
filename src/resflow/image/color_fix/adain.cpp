#include <ATen/ATen.h>

#include "resflow/image/color_fix.h"

namespace resflow::image {
namespace {

// Adaptive instance normalisation (Huang & Belongie 2017): each channel gets the style's mean and deviation.
class Adain final : public ColorFix {
 public:
  Tensor apply(const Tensor& content, const Tensor& style) const override {
    Tensor out = content.clone();
    for (int64_t b = 0; b < out.size(0); ++b)
      for (int64_t c = 0; c < 3; ++c) {
        const auto [mean, deviation] = moments(content[b][c]);
        const auto [style_mean, style_deviation] = moments(style[b][c]);
        const double gain = style_deviation / deviation;
        out[b][c].mul_(gain).add_(style_mean - mean * gain);
      }
    return out;
  }

 private:
  static constexpr double epsilon = 1e-5;  // added to the unbiased variance
  static std::pair<double, double> moments(const Tensor& plane) {
    const bool single = plane.numel() < 2;  // one pixel has no variance
    return {plane.mean().item<double>(), std::sqrt((single ? 0.0 : plane.var().item<double>()) + epsilon)};
  }
};

}  // namespace

Entry<ColorFix> color_fix_adain() { return entry<ColorFix, Adain>("adain", "Each channel gets the source's mean and deviation"); }

}  // namespace resflow::image
