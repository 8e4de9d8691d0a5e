// The network of iqa_network.h, turned round: a reward that needs neither the source nor the degradation remover. `resflow train configs/iqa.toml`
// makes its weights.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "resflow/rewards/iqa_network.h"
#include "resflow/rewards/public_file.h"
#include "resflow/rewards/reward.h"
#include "resflow/weights/load.h"

namespace resflow::rewards {
namespace {

PublicFile weights_file() {
  return {.name = "compact-iqa.safetensors", .origin = "`resflow train configs/iqa.toml`: its weights.safetensors", .licence = "yours"};
}

class CompactIqa final : public Reward {
 public:
  CompactIqa() {
    weights::load_strict(network_, weights::TensorFile::open(find_public_file(weights_file())), "iqa.", {.dtype = at::kFloat, .device = at::kCPU});
  }

  Tensor score(const Tensor& images, const RewardContext&) const override {
    check_shape(images, "N 3 H W", "images");
    at::NoGradGuard no_grad;
    std::vector<Tensor> scores;  // one image at a time: the same number alone as in a batch
    for (int64_t i = 0; i < images.size(0); ++i) {
      // As it will be stored: what lies outside 0..1 or between two bytes is not seen by anybody.
      const Tensor stored = images.narrow(0, i, 1).to(at::kCPU, at::kFloat).clamp(0, 1).mul(255).round().div(255);
      scores.push_back(network_.forward(stored));
    }
    return at::cat(scores).neg_().to(at::kDouble);
  }

 private:
  IqaNetwork network_;
};

}  // namespace

Entry<Reward> reward_compact_iqa() {
  return entry<Reward, CompactIqa>("compact-iqa", "A small network's estimate of how the picture looks beside the clean one, which it does not see");
}
PublicNeeds reward_compact_iqa_needs() { return {.files = {weights_file()}}; }

}  // namespace resflow::rewards
