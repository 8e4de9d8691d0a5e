// How much people liked such pictures: LAION's predictors on CLIP embeddings. `aesthetic` is the improved one (Schuhmann 2022, trained
// on SAC, Logos and AVA); the others are the linear ones of the first release.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <functional>

#include "resflow/rewards/aesthetic_head.h"
#include "resflow/rewards/clip_vision.h"
#include "resflow/rewards/public_file.h"
#include "resflow/rewards/reward.h"

namespace resflow::rewards {
namespace {

struct Parts {
  PublicFile head, clip;
};

class Aesthetic final : public Reward {
 public:
  explicit Aesthetic(const Parts& parts)
      : head_(AestheticHead::load(find_public_file(parts.head))), tower_(SharedClipVision::of(find_public_file(parts.clip))) {
    if (tower_->width() != head_.width())
      throw_user_error({.where = "rewards/" + parts.head.name,
                        .problem = "made for another CLIP than rewards/" + parts.clip.name,
                        .wanted = fmt::format("embeddings of {} numbers", head_.width()),
                        .got = std::to_string(tower_->width())});
  }

  Tensor score(const Tensor& images, const RewardContext&) const override { return head_.forward(tower_->embed(images)); }

 private:
  AestheticHead head_;
  std::shared_ptr<SharedClipVision> tower_;
};

Entry<Reward> predictor(std::string name, std::string help, const std::function<Parts()>& parts) {
  return {std::move(name), std::move(help), [parts] { return std::make_unique<Aesthetic>(parts()); }};
}

Parts linear(const std::string& model, const std::string& clip) {
  return {.head = {.name = "sa_0_4_vit_" + model + "_linear.pth", .origin = "https://github.com/LAION-AI/aesthetic-predictor", .licence = "MIT"},
          .clip = clip_folder(clip)};
}

Parts improved() {
  return {.head = {.name = "sac+logos+ava1-l14-linearMSE.pth",
                   .origin = "https://github.com/christophschuhmann/improved-aesthetic-predictor",
                   .licence = "Apache-2.0"},
          .clip = clip_folder("clip-vit-large-patch14")};
}
Parts linear_l14() { return linear("l_14", "clip-vit-large-patch14"); }
Parts linear_b16() { return linear("b_16", "clip-vit-base-patch16"); }
Parts linear_b32() { return linear("b_32", "clip-vit-base-patch32"); }

PublicNeeds needs(const Parts& parts) { return {.files = {parts.head, parts.clip}}; }

}  // namespace

Entry<Reward> reward_aesthetic() {
  return predictor("aesthetic", "How much people would like it: LAION's improved predictor on CLIP L/14", improved);
}
Entry<Reward> reward_aesthetic_l14() { return predictor("aesthetic-l14", "LAION's first, linear predictor on CLIP L/14", linear_l14); }
Entry<Reward> reward_aesthetic_b16() { return predictor("aesthetic-b16", "LAION's first, linear predictor on CLIP B/16", linear_b16); }
Entry<Reward> reward_aesthetic_b32() { return predictor("aesthetic-b32", "LAION's first, linear predictor on CLIP B/32", linear_b32); }
PublicNeeds reward_aesthetic_needs() { return needs(improved()); }
PublicNeeds reward_aesthetic_l14_needs() { return needs(linear_l14()); }
PublicNeeds reward_aesthetic_b16_needs() { return needs(linear_b16()); }
PublicNeeds reward_aesthetic_b32_needs() { return needs(linear_b32()); }

}  // namespace resflow::rewards
