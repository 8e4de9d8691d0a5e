// How much people liked such pictures: LAION's predictors on CLIP embeddings. `aesthetic` is the improved one (Schuhmann 2022, trained
// on SAC, Logos and AVA); the others are the linear ones of the first release.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/rewards/aesthetic_head.h"
#include "resflow/rewards/clip_vision.h"
#include "resflow/rewards/public_file.h"
#include "resflow/rewards/reward.h"

namespace resflow::rewards {
namespace {

class Aesthetic final : public Reward {
 public:
  Aesthetic(const PublicFile& head, const std::string& clip)
      : head_(AestheticHead::load(find_public_file(head))), tower_(SharedClipVision::of(find_public_file(clip_folder(clip)))) {
    if (tower_->width() != head_.width())
      throw_user_error({.where = "rewards/" + head.name,
                        .problem = "made for another CLIP than rewards/" + clip,
                        .wanted = fmt::format("embeddings of {} numbers", head_.width()),
                        .got = std::to_string(tower_->width())});
  }

  Tensor score(const Tensor& images, const RewardContext&) const override { return head_.forward(tower_->embed(images)); }

 private:
  AestheticHead head_;
  std::shared_ptr<SharedClipVision> tower_;
};

Entry<Reward> predictor(std::string name, std::string help, PublicFile head, std::string clip) {
  return {std::move(name), std::move(help), [head, clip] { return std::make_unique<Aesthetic>(head, clip); }};
}

PublicFile linear_head(const std::string& model) {
  return {.name = "sa_0_4_vit_" + model + "_linear.pth", .origin = "https://github.com/LAION-AI/aesthetic-predictor", .licence = "MIT"};
}

}  // namespace

Entry<Reward> reward_aesthetic() {
  return predictor("aesthetic", "How much people would like it: LAION's improved predictor on CLIP L/14",
                   {.name = "sac+logos+ava1-l14-linearMSE.pth",
                    .origin = "https://github.com/christophschuhmann/improved-aesthetic-predictor",
                    .licence = "Apache-2.0"},
                   "clip-vit-large-patch14");
}
Entry<Reward> reward_aesthetic_l14() {
  return predictor("aesthetic-l14", "LAION's first, linear predictor on CLIP L/14", linear_head("l_14"), "clip-vit-large-patch14");
}
Entry<Reward> reward_aesthetic_b16() {
  return predictor("aesthetic-b16", "LAION's first, linear predictor on CLIP B/16", linear_head("b_16"), "clip-vit-base-patch16");
}
Entry<Reward> reward_aesthetic_b32() {
  return predictor("aesthetic-b32", "LAION's first, linear predictor on CLIP B/32", linear_head("b_32"), "clip-vit-base-patch32");
}

}  // namespace resflow::rewards
