// Is the result's coarse content that of the degradation remover? -mean |area(image) - area(y*)| at a quarter of the size, both in 0..1.
#include <ATen/ATen.h>

#include <algorithm>

#include "resflow/rewards/reward.h"

namespace resflow::rewards {
namespace {

class DrConsistency final : public Reward {
 public:
  // At a quarter of the size: finer detail is what the flow is there to add. A smaller preview is compared at the same size.
  Tensor score(const Tensor& images, const RewardContext& context) const override {
    check_shape(images, "N 3 H W", "images");
    check_shape(context.reference, "1 3 H W", "reference");
    const int64_t height = std::min(images.size(2), std::max<int64_t>(1, context.reference.size(2) / 4)),
                  width = std::min(images.size(3), std::max<int64_t>(1, context.reference.size(3) / 4));
    const auto area = [&](const Tensor& x) { return at::adaptive_avg_pool2d(x.to(at::kFloat).clamp(0, 1), {height, width}); };
    const Tensor difference = area(images) - area(context.reference.to(images.device()));  // [N, 3, height, width]
    return difference.abs_().flatten(1).mean(1).neg_().to(at::kCPU, at::kDouble);          // [N]
  }
  bool needs_reference() const override { return true; }
};

}  // namespace

Entry<Reward> reward_dr_consistency() {
  return entry<Reward, DrConsistency>("dr-consistency",
                                      "The result against the degradation remover's, at a quarter of the size: negative mean absolute difference");
}

}  // namespace resflow::rewards
