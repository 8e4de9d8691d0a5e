// Does the result, made small again, look like the source? -mean |down(image) - lq|, both in 0..1. Down = antialiased bicubic.
#include <ATen/ATen.h>

#include <algorithm>

#include "resflow/rewards/reward.h"

namespace resflow::rewards {
namespace {

class LqConsistency final : public Reward {
 public:
  // The comparison is made at the source's size, but at no more than half the image's: where nothing is enlarged, an equal image would
  // be one that was not restored.
  Tensor score(const Tensor& images, const RewardContext& context) const override {
    check_shape(images, "N 3 H W", "images");
    check_shape(context.lq, "1 3 h w", "lq");
    const int64_t height = std::min(context.lq.size(2), (images.size(2) + 1) / 2), width = std::min(context.lq.size(3), (images.size(3) + 1) / 2);
    const auto down = [&](const Tensor& x) {
      const Tensor image = x.to(at::kFloat).clamp(0, 1);
      return image.size(2) == height && image.size(3) == width ? image : at::_upsample_bicubic2d_aa(image, {height, width}, false).clamp_(0, 1);
    };
    const Tensor difference = down(images) - down(context.lq.to(images.device()));  // [N, 3, height, width]
    return difference.abs_().flatten(1).mean(1).neg_().to(at::kCPU, at::kDouble);   // [N]
  }
  bool needs_lq() const override { return true; }
};

}  // namespace

Entry<Reward> reward_lq_consistency() {
  return entry<Reward, LqConsistency>("lq-consistency", "The result, made small again, against the source: negative mean absolute difference");
}

}  // namespace resflow::rewards
