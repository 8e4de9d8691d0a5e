// What each perturbation does to the law of a sample in flight.
#include "resflow/search/perturbation.h"

#include <doctest/doctest.h>

#include "search/toy.h"

using namespace resflow;
using namespace resflow::search;

namespace {

constexpr int64_t kCount = 40000;

// x0 and z at sigma t for a Gaussian law.
struct InFlight {
  Tensor z, velocity, noise;
};
InFlight in_flight(const toy::Mixture& law, const Coordinates& at, double t) {
  const Tensor x0 = toy::draw(law, kCount), n = toy::normals("n", 0, {kCount});
  Tensor start = at.sigma_s * n;
  if (at.center.defined()) start = start + at.center;
  const Tensor z = (1 - t) * x0 + t * start;
  return {z, toy::velocity_of(law, at)(z, t), toy::normals("fresh", 0, {kCount})};
}

Perturbed perturb(const std::string& name, const InFlight& x, double t, double rho, const Coordinates& at) {
  return perturbations().make(name)->apply({.z = x.z, .velocity = x.velocity, .noise = x.noise, .sigma = t, .rho = rho, .at = at});
}

}  // namespace

TEST_CASE("rho 0 leaves a sample where it is, any other moves it by about rho times its noise") {
  const Coordinates at{.center = at::full({1}, 0.4, at::kDouble), .sigma_s = 0.3};
  const auto x = in_flight(toy::three_modes(), at, 0.6);
  for (const auto& e : perturbations().entries()) {
    CAPTURE(e.name);
    const auto still = perturb(e.name, x, 0.6, 0, at), moved = perturb(e.name, x, 0.6, 0.2, at);
    CHECK(at::allclose(still.z, x.z, 1e-12, 1e-12));
    CHECK(still.sigma == doctest::Approx(0.6));
    const double size = (moved.z - x.z).square().mean().sqrt().item<double>();
    CHECK(size > 0.7 * 0.2 * 0.6 * 0.3);
    CHECK(size < 1.5 * 0.2 * 0.6 * 0.3);
  }
}

TEST_CASE("after churn a sample has exactly the law of its new noise level, in both coordinates") {
  const auto law = toy::gaussian(0.7, 0.5);
  for (const auto& at : {Coordinates{}, Coordinates{.center = at::full({1}, 0.4, at::kDouble), .sigma_s = 0.3}})
    for (const double rho : {0.3, 1.0}) {
      const double t = 0.5, center = at.center.defined() ? 0.4 : 0.0;
      const auto moved = perturb("churn", in_flight(law, at, t), t, rho, at);
      const double u = moved.sigma, q = t * std::sqrt(1 + rho * rho), variance = (1 - u) * (1 - u) * 0.25 + u * u * at.sigma_s * at.sigma_s;
      CHECK(u == doctest::Approx(q / (1 - t + q)));
      CHECK(moved.z.mean().item<double>() == doctest::Approx((1 - u) * 0.7 + u * center).epsilon(0.02));
      CHECK(moved.z.var().item<double>() == doctest::Approx(variance).epsilon(0.02));
    }
}

TEST_CASE("churn is the forward process to its noise level") {
  const Coordinates at{.center = at::full({1}, 0.4, at::kDouble), .sigma_s = 0.3};
  const auto x = in_flight(toy::three_modes(), at, 0.5);
  const auto moved = perturb("churn", x, 0.5, 0.4, at);
  CHECK(at::allclose(moved.z, renoise(at, x.z, x.noise, 0.5, moved.sigma), 1e-10, 1e-10));
}

TEST_CASE("zero-drift leaves an excess of rho^2 of the noise's variance") {
  const auto law = toy::gaussian(0.7, 0.5);
  const Coordinates at{.center = at::full({1}, 0.4, at::kDouble), .sigma_s = 0.8};
  const double t = 0.6, rho = 0.5;
  const auto x = in_flight(law, at, t);
  const double excess = perturb("zero-drift", x, t, rho, at).z.var().item<double>() - x.z.var().item<double>();
  CHECK(excess == doctest::Approx(rho * rho * t * t * 0.64).epsilon(0.08));
}

TEST_CASE("preserve keeps the variance to the fourth order in rho") {
  const auto law = toy::gaussian(0.7, 0.5);
  const Coordinates at{.center = at::full({1}, 0.4, at::kDouble), .sigma_s = 0.8};
  const double t = 0.6, variance = 0.16 * 0.25 + 0.36 * 0.64;
  // With a Gaussian law noise_hat is linear in z: the change of variance is known. c = cos - 1, k = its slope t sigma_s / variance:
  // Var(z') / Var(z) = (1 + c t sigma_s k)^2 + (rho t sigma_s)^2 / variance.
  for (const double rho : {0.1, 0.3, 0.5}) {
    const double share = t * t * 0.64 / variance, c = std::sqrt(1 - rho * rho) - 1, ratio = (1 + c * share) * (1 + c * share) + rho * rho * share;
    const auto x = in_flight(law, at, t);
    const double measured = perturb("preserve", x, t, rho, at).z.var().item<double>() / x.z.var().item<double>();
    CHECK(measured == doctest::Approx(ratio).epsilon(0.01));
    CHECK(std::abs(ratio - 1) <= 0.25 * std::pow(rho, 4) + 1e-12);
  }
}

TEST_CASE("seven rounds at rho 0.5 keep the data's law with preserve and churn, and break it with zero-drift") {
  const auto law = toy::three_modes();
  const auto velocity = toy::velocity_of(law);
  const int64_t count = 12000;
  const Tensor data = toy::draw(law, count, 9), start = toy::normals("start", 3, {count});
  const auto distance = [&](const std::string& name, double rho) {
    Tensor z = start;
    const int steps = 30;
    for (int i = 0; i < steps; ++i) {
      double t = 1 - i / 30.0;
      const double next = 1 - (i + 1) / 30.0;
      if (!name.empty() && i % 4 == 2 && i < 28) {  // 7 rounds
        const Tensor v = velocity(z, t), noise = toy::normals("fresh", static_cast<uint64_t>(i), {count});
        const auto moved = perturbations().make(name)->apply({.z = z, .velocity = v, .noise = noise, .sigma = t, .rho = rho, .at = {}});
        z = moved.z;
        t = moved.sigma;
      }
      z = z + (next - t) * velocity(z, t);
    }
    return toy::wasserstein(z, data);
  };
  const double plain = distance("", 0);
  CHECK(plain < 0.06);
  for (const char* name : {"preserve", "churn"})
    for (const double rho : {0.2, 0.5}) CHECK(distance(name, rho) < plain + 0.02);
  CHECK(distance("zero-drift", 0.2) < plain + 0.02);
  CHECK(distance("zero-drift", 0.5) > 2 * plain);
  CHECK(distance("zero-drift", 0.5) > 0.08);
}
