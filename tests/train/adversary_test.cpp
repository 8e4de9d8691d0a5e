#include "resflow/train/adversary.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/autograd.h>

#include "resflow/core/rng.h"
#include "resflow/train/optimizer.h"

using namespace resflow;
using namespace resflow::train;

namespace {

const std::vector<int64_t> kChannels = {8, 12};

struct Root : nn::Module {
  Adversary adversary{*this, kChannels};
  Root() {
    initialise(Stream(3, "test.adversary"));
    requires_grad(true);
  }
};

// Of pictures with much fine detail or little; the features are fixed maps of the pixels.
Adversary::Sight sight(const Tensor& pixels) {
  std::vector<Tensor> features;
  int64_t stride = 2;
  for (const int64_t channels : kChannels) {
    const Tensor map = normal_like_shape(Stream(5, "test.map", static_cast<uint64_t>(channels)), {channels, 3, 3, 3});
    const Tensor made = at::conv2d(pixels - 0.5, map, {}, stride, 1);
    features.push_back(made / at::linalg_vector_norm(made, 2, at::IntArrayRef{1}, true).clamp_min(1e-6));
    stride *= 2;
  }
  return {.features = features, .pixels = pixels};
}

Tensor pictures(uint64_t seed, bool blurred) {
  const Tensor noise = 0.5 + 0.2 * normal_like_shape(Stream(seed, "test.pictures"), {4, 3, 32, 35});
  return blurred ? at::avg_pool2d(noise, {3, 3}, {1, 1}, {1, 1}, false, false) : noise;
}

std::vector<Tensor> gradients(const Tensor& loss, const std::vector<Tensor>& of) {
  return torch::autograd::grad({loss}, of, {}, std::nullopt, false, /*allow_unused=*/true);
}

std::vector<Tensor> weights(const Root& root) {
  std::vector<Tensor> out;
  for (const auto& parameter : root.named_parameters()) out.push_back(*parameter.slot);
  return out;
}

}  // namespace

TEST_CASE("each loss moves its own side alone") {
  const Root root;
  const Tensor made = pictures(1, true).requires_grad_(true);
  const auto seen = sight(made), real = sight(pictures(2, false));
  const auto at_made = gradients(root.adversary.own_loss(real, seen).sum(), {made});
  CHECK_FALSE(at_made[0].defined());
  for (const auto& gradient : gradients(root.adversary.own_loss(real, seen).sum(), weights(root))) CHECK(gradient.defined());
  const Tensor judged = root.adversary.seen_through(seen);
  CHECK(judged.sizes() == at::IntArrayRef{4});
  CHECK(gradients(judged.sum(), {made})[0].abs().max().item<float>() > 0);
  for (const auto& gradient : gradients(root.adversary.seen_through(seen).sum(), weights(root))) CHECK_FALSE(gradient.defined());
}

TEST_CASE("what an adversary says does not grow with its weights") {
  Root root;
  const auto seen = sight(pictures(1, true));
  const Tensor before = root.adversary.seen_through(seen);
  {
    at::NoGradGuard no_grad;
    for (const auto& parameter : root.named_parameters())
      if (parameter.slot->dim() == 4) parameter.slot->mul_(100);
  }
  CHECK(at::allclose(root.adversary.seen_through(seen), before, 1e-3, 1e-4));
}

// Catches: real and made exchanged, a sign that is wrong on either side, a head that does not learn.
TEST_CASE("it learns to tell blurred from sharp, and what follows it becomes sharper") {
  Root root;
  AdamW optimiser(root, {.beta2 = 0.99});
  double first = 0, last = 0;
  for (int64_t step = 1; step <= 60; ++step) {
    const auto seed = static_cast<uint64_t>(10 * step);
    const Tensor loss = root.adversary.own_loss(sight(pictures(seed, false)), sight(pictures(seed + 1, true))).mean();
    (step == 1 ? first : last) = loss.item<double>();
    auto change = gradients(loss, weights(root));
    optimiser.step(step, 3e-3, change);
  }
  CHECK(first > 1.5);  // of 2 where it knows nothing
  CHECK(last < 0.5);
  Tensor made = pictures(7, true);
  const auto detail = [](const Tensor& image) {
    return (image - at::avg_pool2d(image, {3, 3}, {1, 1}, {1, 1}, false, false)).detach().square().mean().item<double>();
  };
  const double before = detail(made), judged = root.adversary.seen_through(sight(made)).mean().item<double>();
  for (int step = 0; step < 10; ++step) {
    made = made.detach().requires_grad_(true);
    const Tensor gradient = gradients(root.adversary.seen_through(sight(made)).sum(), {made})[0];
    made = (made - 0.01 * gradient.sign()).detach();
  }
  CHECK(root.adversary.seen_through(sight(made)).mean().item<double>() < judged - 0.5);
  CHECK(detail(made) > 1.5 * before);
}
