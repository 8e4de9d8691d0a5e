// Laws that every sampler of the registry obeys, and the order of accuracy of single ones.
#include "resflow/flow/sampler.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>

#include "resflow/core/rng.h"
#include "resflow/flow/denoise.h"
#include "resflow/flow/schedule.h"

using namespace resflow;
using namespace resflow::flow;

namespace {

double distance(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

// A curved path with a known end: dz/dsigma = cos(3 sigma) z, so z(sigma) = z(1) exp((sin(3 sigma) - sin 3) / 3).
double curved_error(const std::string& sampler, int steps, double last) {
  const VelocityFn velocity = [](const Tensor& z, double sigma) { return std::cos(3 * sigma) * z; };
  std::vector<double> sigmas;
  for (int i = 0; i <= steps; ++i) sigmas.push_back(1 + (last - 1) * i / steps);
  const auto end = denoise(velocity, at::ones({1}, at::kDouble), sigmas, *samplers().make(sampler));
  return std::abs(end.item<double>() - std::exp((std::sin(3 * last) - std::sin(3.0)) / 3));
}

}  // namespace

TEST_CASE("every sampler is exact on straight paths, whatever the number and spacing of its steps") {
  const Tensor x0 = normal_like_shape(Stream(1, "x0"), {2, 3, 4, 5}).to(at::kDouble),
               start = normal_like_shape(Stream(1, "start"), {2, 3, 4, 5}).to(at::kDouble);
  const VelocityFn velocity = [&](const Tensor&, double) { return start - x0; };
  for (const auto& e : samplers().entries())
    for (const int steps : {1, 2, 3, 7})
      for (const double mu : {0.0, 1.15}) {
        CAPTURE(e.name);
        CAPTURE(steps);
        CHECK(distance(denoise(velocity, start, shift_sigmas(linear_sigmas(steps), mu), *e.make()), x0) < 1e-12);
        // From the middle of the path, as a search or a strength below 1 starts.
        const auto middle = 0.4 * x0 + 0.6 * start;
        CHECK(distance(denoise(velocity, middle, linear_sigmas(steps, 0.6), *e.make()), x0) < 1e-12);
      }
}

TEST_CASE("every sampler is stateless: steps may be repeated and taken in any order") {
  const auto z = normal_like_shape(Stream(1, "z"), {1, 3, 4, 4});
  const VelocityFn velocity = [](const Tensor& at_z, double sigma) { return at_z.sin() + sigma; };
  for (const auto& e : samplers().entries()) {
    CAPTURE(e.name);
    const auto sampler = e.make();
    const auto stepped = [&](const Sampler& s, double from, double to) {
      return s.step({.z = z, .velocity = velocity(z, from), .sigma = from, .sigma_next = to, .evaluate = velocity});
    };
    const auto kept = z.clone(), first = stepped(*sampler, 0.9, 0.5);
    stepped(*sampler, 0.3, 0.0);
    stepped(*sampler, 1.0, 0.8);
    CHECK(at::equal(stepped(*sampler, 0.9, 0.5), first));
    CHECK(at::equal(stepped(*e.make(), 0.9, 0.5), first));
    CHECK(at::equal(z, kept));
  }
}

TEST_CASE("every sampler keeps shape and type, samples of a batch do not mix, and it calls the model as often as it says") {
  const auto z = normal_like_shape(Stream(1, "z"), {3, 2, 4, 4});
  int calls = 0;
  std::vector<double> visited;
  const VelocityFn velocity = [&](const Tensor& at_z, double sigma) {
    ++calls;
    visited.push_back(sigma);
    return at_z.sin() * sigma;
  };
  for (const auto& e : samplers().entries()) {
    CAPTURE(e.name);
    const auto sampler = e.make();
    calls = 0;
    const auto out = denoise(velocity, z, std::vector<double>{1, 0.5, 0.2}, *sampler);
    CHECK(calls == 2 * sampler->calls_per_step());
    CHECK(out.sizes() == z.sizes());
    CHECK(distance(denoise(velocity, z.narrow(0, 1, 1), std::vector<double>{1, 0.5, 0.2}, *sampler), out.narrow(0, 1, 1)) < 1e-6);
    visited.clear();
    for (const auto dtype : {at::kBFloat16, at::kDouble}) CHECK((denoise(velocity, z.to(dtype), linear_sigmas(3), *sampler).scalar_type() == dtype));
    for (const double sigma : visited) CHECK(sigma > 0);  // the model is not defined at 0
    CHECK_FALSE(e.help.empty());
  }
}

TEST_CASE("euler is of first order and heun of second, to the middle of the path and to its end") {
  for (const double last : {0.2, 0.0}) {
    CAPTURE(last);
    CHECK(curved_error("euler", 64, last) / curved_error("euler", 128, last) == doctest::Approx(2).epsilon(0.1));
    CHECK(curved_error("heun", 64, last) / curved_error("heun", 128, last) == doctest::Approx(4).epsilon(0.15));
    CHECK(curved_error("heun", 64, last) < curved_error("euler", 64, last) / 10);
  }
}
