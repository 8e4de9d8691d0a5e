#include "resflow/search/estimator.h"

#include <doctest/doctest.h>

#include "search/toy.h"

using namespace resflow;
using namespace resflow::search;

TEST_CASE("the look-ahead strides evenly to 0.4 sigma, and makes as many calls as strides") {
  CHECK(look_ahead_sigmas(0.5, 0) == std::vector<double>{0.5});
  const auto sigmas = look_ahead_sigmas(0.5, 3);
  REQUIRE(sigmas.size() == 4);
  CHECK(sigmas.front() == 0.5);
  CHECK(sigmas.back() == doctest::Approx(0.2));
  CHECK(sigmas[0] - sigmas[1] == doctest::Approx(sigmas[2] - sigmas[3]));
  int calls = 0;
  const flow::VelocityFn velocity = [&](const Tensor& z, double) {
    ++calls;
    return z;
  };
  const Tensor z = at::ones({2, 3}, at::kDouble);
  look_ahead(velocity, z, z, 0.5, 3);
  CHECK(calls == 3);
}

TEST_CASE("on a straight path every look-ahead is exact") {
  const Tensor x0 = toy::normals("x0", 0, {4, 3}), start = toy::normals("n", 0, {4, 3}), v = start - x0;
  const flow::VelocityFn velocity = [&](const Tensor&, double) { return v; };
  const Tensor z = 0.3 * x0 + 0.7 * start;
  for (const int64_t strides : {0, 1, 4}) CHECK(at::allclose(look_ahead(velocity, z, v, 0.7, strides), x0, 1e-10, 1e-12));
}

TEST_CASE("the estimated reward's rank correlation with the final one grows with the strides and beats Tweedie's") {
  const auto velocity = toy::velocity_of(toy::three_modes());
  const auto sampler = flow::samplers().make("euler");
  const auto reward = [](const Tensor& x0) { return (x0 - 0.9).abs().neg(); };
  const auto sigmas = flow::linear_sigmas(30);
  for (const size_t first : {9u, 15u}) {  // sigma 0.7 and 0.5
    const Tensor z0 = toy::normals("start", 1, {3000});
    const Tensor z = flow::denoise(velocity, z0, std::span(sigmas).subspan(0, first + 1), *sampler);
    const Tensor final_reward = reward(flow::denoise(velocity, z, std::span(sigmas).subspan(first), *sampler));
    const auto agreement = [&](int64_t strides) {
      return toy::rank_correlation(reward(look_ahead(velocity, z, velocity(z, sigmas[first]), sigmas[first], strides)), final_reward);
    };
    const double tweedie = agreement(0), two = agreement(2), four = agreement(4);
    CAPTURE(sigmas[first]);
    CAPTURE(tweedie);
    CAPTURE(two);
    CHECK(1 - two < 0.6 * (1 - tweedie));
    CHECK(four > two - 0.005);
    CHECK(four > 0.9);
  }
}
