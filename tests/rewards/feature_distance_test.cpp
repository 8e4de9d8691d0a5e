#include "resflow/rewards/feature_distance.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>

#include "resflow/core/error.h"
#include "resflow/core/rng.h"
#include "resflow/rewards/efficientnet_lite.h"

using namespace resflow;
using namespace resflow::rewards;

namespace {

// Random weights at the scale that keeps features alive through the depth.
FeatureDistance random_distance(const std::string& variant, c10::ScalarType dtype) {
  const auto architecture = lite_architecture(variant);
  const auto get = [&, dtype](const std::string& name) {
    std::vector<int64_t> shape = {3, 3};  // replaced below
    const auto dot = name.rfind('.');
    const bool is_bias = name.substr(dot + 1) == "bias";
    if (name.starts_with("stem")) {
      shape = {32, 3, 3, 3};
    } else {
      const auto& block = architecture.blocks.at(std::stoul(name.substr(7)));
      const int64_t inner = block.in * block.expansion;
      if (name.find("expand") != std::string::npos) shape = {inner, block.in, 1, 1};
      if (name.find("depthwise") != std::string::npos) shape = {inner, 1, block.kernel, block.kernel};
      if (name.find("project") != std::string::npos) shape = {block.out, inner, 1, 1};
    }
    const double inputs = static_cast<double>(shape[1] * shape[2] * shape[3]);
    if (is_bias) shape.resize(1);
    const auto tensor = normal_like_shape(Stream(7, name), shape);
    return (is_bias ? tensor * 0.1 : tensor * std::sqrt(2 / inputs)).to(dtype);
  };
  return {std::make_shared<EfficientNetLite>(architecture, get), default_taps(architecture)};
}

Tensor picture(uint64_t seed, at::IntArrayRef shape) { return at::sigmoid(normal_like_shape(Stream(seed, "picture"), shape)); }

}  // namespace

TEST_CASE("the taps of lite0, lite1 and lite2 end stages 1, 2, 3, 4, 5 and 7") {
  CHECK(default_taps(lite_architecture("lite0")) == std::vector<int64_t>{0, 2, 4, 7, 10, 15});
  CHECK(default_taps(lite_architecture("lite1")) == std::vector<int64_t>{0, 3, 6, 10, 14, 20});
  CHECK(default_taps(lite_architecture("lite2")) == std::vector<int64_t>{0, 3, 6, 10, 14, 20});
  CHECK(lite_architecture("lite4").blocks.back().out == 448);
  CHECK_THROWS_AS(lite_architecture("b0"), UserError);
}

TEST_CASE("the distance of a picture to itself is 0, and it grows with the noise added") {
  const auto distance = random_distance("lite0", at::kFloat);
  const auto a = picture(1, {2, 3, 64, 48}), noise = normal_like_shape(Stream(2, "noise"), a.sizes());
  const auto same = distance.distance(a, a), near = distance.distance(a, a + 0.05 * noise), far = distance.distance(a, a + 0.5 * noise);
  CHECK(same.sizes() == at::IntArrayRef{2});
  CHECK(same.abs().max().item<double>() == 0);
  CHECK((near > 0).all().item<bool>());
  CHECK((far > near).all().item<bool>());
  CHECK((far < 4).all().item<bool>());
}

TEST_CASE("a batch gives what its pictures give alone, and stored target features what the target gives") {
  const auto distance = random_distance("lite1", at::kFloat);
  const auto a = picture(1, {2, 3, 61, 75}), b = picture(2, {2, 3, 61, 75});
  const auto both = distance.distance(a, b);
  for (int64_t i = 0; i < 2; ++i)
    CHECK(distance.distance(a.narrow(0, i, 1), b.narrow(0, i, 1)).item<double>() == doctest::Approx(both[i].item<double>()).epsilon(1e-5));
  CHECK(at::equal(distance.distance_to(a, distance.features(b)), both));
}

TEST_CASE("the gradient with respect to the image is the slope of the distance") {
  const auto distance = random_distance("lite0", at::kDouble);
  const auto a = picture(1, {1, 3, 40, 40}).to(at::kDouble), target = picture(2, {1, 3, 40, 40}).to(at::kDouble);
  const auto features = distance.features(target);
  auto leaf = a.clone().requires_grad_(true);
  distance.distance_to(leaf, features).sum().backward();
  for (const uint64_t seed : {3, 4, 5}) {
    const auto direction = normal_like_shape(Stream(seed, "direction"), a.sizes()).to(at::kDouble);
    const double step = 1e-8;  // small, so that hardly any activation crosses a kink of ReLU6
    const double slope =
        (distance.distance_to(a + step * direction, features) - distance.distance_to(a - step * direction, features)).item<double>() / (2 * step);
    CHECK((leaf.grad() * direction).sum().item<double>() == doctest::Approx(slope).epsilon(1e-4));
    CHECK(std::abs(slope) > 1e-3);
  }
}

TEST_CASE("descending the gradient brings a picture nearer to its target") {
  const auto distance = random_distance("lite0", at::kFloat);
  const auto features = distance.features(picture(2, {1, 3, 64, 64}));
  auto image = picture(1, {1, 3, 64, 64}).requires_grad_(true);
  const auto before = distance.distance_to(image, features);
  before.sum().backward();
  const auto moved = image.detach() - 0.5 * image.grad() / image.grad().norm();
  CHECK(distance.distance_to(moved, features).item<double>() < before.item<double>());
}

TEST_CASE("weights of another shape are refused by name") {
  const auto wrong = [](const std::string&) { return at::zeros({1, 1, 1, 1}); };
  CHECK_THROWS_WITH_AS(EfficientNetLite(lite_architecture("lite0"), wrong), doctest::Contains("stem"), UserError);
}
