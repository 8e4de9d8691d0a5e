#include "resflow/search/sde.h"

#include <doctest/doctest.h>

#include "search/toy.h"

using namespace resflow;
using namespace resflow::search;

TEST_CASE("stochastic steps keep the data's law, in both coordinates") {
  const auto law = toy::three_modes();
  const int64_t count = 12000;
  const Tensor data = toy::draw(law, count, 9);
  for (const auto& at : {Coordinates{}, Coordinates{.center = at::full({1}, 0.3, at::kDouble), .sigma_s = 1.5}}) {
    const auto velocity = toy::velocity_of(law, at);
    Tensor linear = start_sample(at, toy::normals("start", 3, {count}), 1), vp = linear;
    const auto sigmas = flow::linear_sigmas(100);
    std::vector<VpLevel> levels;
    for (const double sigma : sigmas) levels.push_back(vp_level_at(sigma));
    for (size_t i = 0; i < 100; ++i) {
      const Tensor noise = toy::normals("fresh", i, {count});
      linear = sde_step(at, linear, velocity(linear, sigmas[i]), noise, sigmas[i], sigmas[i + 1], square_diffusion(sigmas[i], 1.5));
      vp =
          vp_sde_step(at, vp, velocity(vp, sigmas[i]), noise, sigmas[i], levels[i], levels[i + 1], sigmas[i + 1], square_diffusion(levels[i].s, 1.5));
    }
    CHECK(toy::wasserstein(linear, data) < 0.06);
    CHECK(toy::wasserstein(vp, data) < 0.06);
  }
}

// Euler-Maruyama would overshoot: from 1 to 0.4 with g = 3 the noise would be 6 times too large.
TEST_CASE("a step's noise is right however coarse the step") {
  const Coordinates at{.center = at::full({1}, 0.3, at::kDouble), .sigma_s = 0.3};
  const double x0 = 0.7;
  const Tensor noise = toy::normals("start", 5, {20000}), z = start_sample(at, noise, 1), velocity = z - x0;  // all data at one place
  const auto spread = [&](const Tensor& moved, double sigma) {
    return ((moved - (1 - sigma) * x0 - sigma * 0.3) / (sigma * 0.3)).std().item<double>();
  };
  for (const double g : {0.1, 1.0, 3.0, 30.0}) {
    const Tensor fresh = toy::normals("fresh", 6, {20000});
    CHECK(spread(sde_step(at, z, velocity, fresh, 1, 0.4, g), 0.4) == doctest::Approx(1).epsilon(0.03));
    const auto from = vp_level_at(0.9), to = vp_level_at(0.4);
    const Tensor start = start_sample(at, noise, 0.9) + 0.1 * x0;  // center's share is in it
    CHECK(spread(vp_sde_step(at, start, (start - x0) / 0.9, fresh, 0.9, from, to, 0.4, g), 0.4) == doctest::Approx(1).epsilon(0.03));
  }
}

TEST_CASE("the variance-preserving path's levels fall, more densely where it is noisy, from any first level") {
  for (const double first : {1.0, 0.6}) {
    const auto levels = vp_levels(10, first);
    CHECK(levels.front().flow_sigma() == doctest::Approx(std::min(first, vp_level(1).flow_sigma())));
    CHECK(levels.back().flow_sigma() == 0);
    for (size_t i = 0; i + 1 < levels.size(); ++i) CHECK(levels[i].s > levels[i + 1].s);
    CHECK(levels[0].s - levels[1].s < levels[8].s - levels[9].s);
    for (const auto& l : levels) CHECK(l.alpha * l.alpha + l.spread * l.spread == doctest::Approx(1));
  }
}

TEST_CASE("the variance-preserving level of a noise level has that noise level") {
  for (const double sigma : {0.01, 0.3, 0.9}) CHECK(vp_level_at(sigma).flow_sigma() == doctest::Approx(sigma));
  CHECK(vp_level_at(1).s == 1);
  CHECK(vp_level_at(0).s == 0);
}

TEST_CASE("renoise brings a sample to the law of the higher level") {
  const auto law = toy::gaussian(0.7, 0.5);
  const Coordinates at{.center = at::full({1}, 0.4, at::kDouble), .sigma_s = 0.3};
  const int64_t count = 40000;
  const Tensor z = 0.8 * toy::draw(law, count) + 0.2 * (0.4 + 0.3 * toy::normals("n", 0, {count}));
  const Tensor up = renoise(at, z, toy::normals("fresh", 0, {count}), 0.2, 0.9);
  CHECK(up.mean().item<double>() == doctest::Approx(0.1 * 0.7 + 0.9 * 0.4).epsilon(0.02));
  CHECK(up.var().item<double>() == doctest::Approx(0.01 * 0.25 + 0.81 * 0.09).epsilon(0.02));
}
