// The metric of niqe.cpp, turned round. It is never enough alone: it prefers noise to blur, and a search finds that out.
#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "resflow/core/data_path.h"
#include "resflow/rewards/metric.h"
#include "resflow/rewards/reward.h"

namespace resflow::rewards {
namespace {

constexpr int64_t kSmallest = 192;  // pixels a side that the metric asks for

class NiqeReward final : public Reward {
 public:
  NiqeReward() : metric_(metrics().make("niqe")) { data_file("weights/niqe.safetensors"); }

  // Not a number where the image is smaller than 192x192 or has no texture to judge.
  Tensor score(const Tensor& images, const RewardContext&) const override {
    check_shape(images, "N 3 H W", "images");
    Tensor scores = at::full({images.size(0)}, std::numeric_limits<double>::quiet_NaN(), at::kDouble);
    if (std::min(images.size(2), images.size(3)) < kSmallest) return scores;
    for (int64_t i = 0; i < images.size(0); ++i) {
      try {
        scores[i] = -metric_->score(images.narrow(0, i, 1).to(at::kFloat).clamp(0, 1), Tensor());
      } catch (const UserError&) {  // flat
      }
    }
    return scores;
  }

 private:
  std::unique_ptr<Metric> metric_;
};

}  // namespace

Entry<Reward> reward_niqe() { return entry<Reward, NiqeReward>("niqe", "Naturalness without a reference (NIQE, negated)"); }

}  // namespace resflow::rewards
