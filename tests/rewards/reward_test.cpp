// Laws that every reward of the registry obeys, and what single ones say.
#include "resflow/rewards/reward.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "resflow/core/rng.h"
#include "resflow/rewards/metric.h"

using namespace resflow;
using namespace resflow::rewards;

namespace {

// Noise in octaves, the coarser the stronger: the 1/f spectrum of photographs.
Tensor textured(int64_t height, int64_t width) {
  auto sum = at::zeros({1, 3, height, width});
  for (int64_t scale = 1; scale <= 64; scale *= 2) {
    const auto octave = normal_like_shape(Stream(2, "octave", scale), {1, 1, height / scale + 1, width / scale + 1});
    sum += std::pow(static_cast<double>(scale), 0.75) * at::upsample_bicubic2d(octave, {height, width}, false);
  }
  return at::sigmoid((sum - sum.mean()) / sum.std());
}

struct Scene {
  Tensor clean = textured(192, 208), lq = at::_upsample_bicubic2d_aa(clean, {48, 52}, false), other = 1 - clean;
  RewardContext context{.lq = lq, .reference = clean};
};

}  // namespace

TEST_CASE("every reward gives one double an image, the same alone as in a batch, and prefers the clean image to a wrong or broken one") {
  const Scene scene;
  const Tensor noisy = (scene.clean + 0.35 * normal_like_shape(Stream(1, "noise"), scene.clean.sizes()) + 0.2).clamp(0, 1);
  // Of files that are not shipped: test_clip_rewards.py and test_image_reward.py have their laws, on random weights.
  const std::set<std::string> read_public_files = {"aesthetic",  "aesthetic-l14", "aesthetic-b16", "aesthetic-b32",
                                                   "clip-score", "clip-iqa",      "image-reward",  "compact-iqa"};
  for (const auto& e : reward_registry().entries()) {
    CAPTURE(e.name);
    if (read_public_files.contains(e.name)) continue;
    const auto reward = e.make();
    const Tensor scores = reward->score(at::cat({scene.clean, noisy}), scene.context);
    CHECK(scores.sizes() == at::IntArrayRef({2}));
    CHECK((scores.scalar_type() == at::kDouble));
    CHECK(scores[0].item<double>() > scores[1].item<double>());
    CHECK(reward->score(noisy, scene.context).item<double>() == doctest::Approx(scores[1].item<double>()).epsilon(1e-5));
  }
}

TEST_CASE("consistency is minus the mean difference at the small size, 0 for the image itself") {
  const Scene scene;
  const auto lq = reward_registry().make("lq-consistency"), dr = reward_registry().make("dr-consistency");
  CHECK(lq->score(scene.clean, scene.context).item<double>() == doctest::Approx(0));
  CHECK(dr->score(scene.clean, scene.context).item<double>() == doctest::Approx(0));
  const auto constant = [](double value, int64_t side) { return at::full({1, 3, side, side}, value); };
  const RewardContext grey{.lq = constant(0.5, 16), .reference = constant(0.5, 64)};
  CHECK(lq->score(constant(0.7, 64), grey).item<double>() == doctest::Approx(-0.2));
  CHECK(dr->score(constant(0.7, 64), grey).item<double>() == doctest::Approx(-0.2));
}

TEST_CASE("fine detail does not count against consistency, and a preview at half size scores alike") {
  const auto checkers =
      (at::arange(64).view({1, 1, 1, 64}) + at::arange(64).view({1, 1, 64, 1})).remainder(2).to(at::kFloat).expand({1, 3, 64, 64}) * 0.2 + 0.4;
  const RewardContext grey{.lq = at::full({1, 3, 16, 16}, 0.5), .reference = at::full({1, 3, 64, 64}, 0.5)};
  const Scene scene;
  for (const char* name : {"lq-consistency", "dr-consistency"}) {
    CAPTURE(name);
    const auto reward = reward_registry().make(name);
    CHECK(std::abs(reward->score(checkers, grey).item<double>()) < 0.01);
    const Tensor wrong = at::cat({scene.other, 0.8 * scene.clean}), preview = at::adaptive_avg_pool2d(wrong, {96, 104});
    CHECK(at::allclose(reward->score(preview, scene.context), reward->score(wrong, scene.context), 0.05, 0.005));
  }
}

TEST_CASE("where nothing is enlarged the source is compared at half size, so that restoring it is not punished as much as ruining it") {
  const Scene scene;
  const Tensor noise = 0.1 * normal_like_shape(Stream(1, "noise"), scene.clean.sizes());
  const auto reward = reward_registry().make("lq-consistency");
  const RewardContext in_place{.lq = (scene.clean + noise).clamp(0, 1)};
  CHECK(reward->score(scene.clean, in_place).item<double>() > -0.06);
  CHECK(reward->score(scene.other, in_place).item<double>() < -0.15);
}

TEST_CASE("niqe is the metric, negated; small and flat images are not a number") {
  const Scene scene;
  const auto reward = reward_registry().make("niqe");
  CHECK(reward->score(scene.clean, {}).item<double>() == doctest::Approx(-metrics().make("niqe")->score(scene.clean, Tensor())));
  CHECK(std::isnan(reward->score(at::rand({1, 3, 100, 400}), {}).item<double>()));
  const Tensor scores = reward->score(at::cat({scene.clean, at::full_like(scene.clean, 0.5)}), {});
  CHECK(std::isfinite(scores[0].item<double>()));
  CHECK(std::isnan(scores[1].item<double>()));
}
