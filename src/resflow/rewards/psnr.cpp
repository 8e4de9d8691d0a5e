// Peak signal-to-noise ratio in decibels, peak 255.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "resflow/rewards/channels.h"

namespace resflow::rewards {
namespace {

// Two equal pictures score 138.13 dB instead of infinity, so that means and JSON stay finite.
constexpr double kSmallestError = 1e-9;

class Psnr final : public Metric {
 public:
  double score(const Tensor& prediction, const Tensor& reference, const MetricOptions& options) const override {
    const auto [a, b] = compared(prediction, reference, options, 1);
    return 10 * std::log10(255.0 * 255.0 / std::max(kSmallestError, (a - b).square_().mean().item<double>()));
  }
  bool needs_reference() const override { return true; }
  bool higher_is_better() const override { return true; }
};

}  // namespace

Entry<Metric> metric_psnr() { return entry<Metric, Psnr>("psnr", "Peak signal-to-noise ratio, dB (higher is better)"); }

}  // namespace resflow::rewards
