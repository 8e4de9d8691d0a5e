// Structural similarity, Wang, Bovik, Sheikh and Simoncelli 2004: 11x11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, range 255,
// windows wholly inside the picture.
#include <ATen/ATen.h>

#include "resflow/rewards/channels.h"

namespace resflow::rewards {
namespace {

constexpr double kC1 = (0.01 * 255) * (0.01 * 255), kC2 = (0.03 * 255) * (0.03 * 255);

class Ssim final : public Metric {
 public:
  double score(const Tensor& prediction, const Tensor& reference, const MetricOptions& options) const override {
    const auto taps = gaussian_taps(1.5, 5);
    const auto [a, b] = compared(prediction, reference, options, static_cast<int64_t>(taps.size()));
    const auto mean_a = windowed_mean(a, taps), mean_b = windowed_mean(b, taps);
    const auto variances = windowed_mean(a.square() + b.square(), taps) - mean_a.square() - mean_b.square();
    const auto covariance = windowed_mean(a * b, taps) - mean_a * mean_b;
    const auto map = (2 * mean_a * mean_b + kC1) * (2 * covariance + kC2) / ((mean_a.square() + mean_b.square() + kC1) * (variances + kC2));
    return map.mean().item<double>();
  }
  bool needs_reference() const override { return true; }
  bool higher_is_better() const override { return true; }
};

}  // namespace

Entry<Metric> metric_ssim() { return entry<Metric, Ssim>("ssim", "Structural similarity, at most 1 (higher is better)"); }

}  // namespace resflow::rewards
