// Flows with a closed-form velocity, in double precision: every coordinate is drawn from one mixture of Gaussians.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "resflow/core/rng.h"
#include "resflow/flow/denoise.h"
#include "resflow/flow/schedule.h"
#include "resflow/search/strategy.h"

namespace resflow::search::toy {

struct Mixture {
  std::vector<double> weights, means, deviations;
};
inline Mixture three_modes() { return {{0.3, 0.4, 0.3}, {-1.3, 0.1, 1.4}, {0.15, 0.2, 0.15}}; }
inline Mixture gaussian(double mean, double deviation) { return {{1}, {mean}, {deviation}}; }

// z = (1 - t) x0 + t (center + sigma_s n): velocity (z - E[x0 | z]) / t.
inline flow::VelocityFn velocity_of(const Mixture& m, const Coordinates& at = {}) {
  return [m, at](const Tensor& z, double t) {
    std::vector<Tensor> logs, means;
    for (size_t k = 0; k < m.means.size(); ++k) {
      const double variance = (1 - t) * (1 - t) * m.deviations[k] * m.deviations[k] + t * t * at.sigma_s * at.sigma_s;
      Tensor off = z - (1 - t) * m.means[k];
      if (at.center.defined()) off = off - t * at.center;
      logs.push_back(off.square() * (-0.5 / variance) + std::log(m.weights[k] / std::sqrt(variance)));
      means.push_back(m.means[k] + (1 - t) * m.deviations[k] * m.deviations[k] / variance * off);
    }
    const Tensor log = at::stack(logs), share = (log - std::get<0>(log.max(0, true))).exp_();
    const Tensor x0 = (share * at::stack(means)).sum(0) / share.sum(0);
    return (z - x0) / t;
  };
}

inline Tensor normals(std::string_view purpose, uint64_t index, at::IntArrayRef shape, uint64_t seed = 1) {
  return normal_like_shape(Stream(seed, purpose, index), shape).to(at::kDouble);
}

inline Tensor draw(const Mixture& m, int64_t count, uint64_t seed = 5) {
  Stream stream(seed, "toy.data");
  Tensor out = at::empty({count}, at::kDouble);
  for (int64_t i = 0; i < count; ++i) {
    double u = stream.uniform();
    size_t k = 0;
    while (k + 1 < m.weights.size() && u >= m.weights[k]) u -= m.weights[k++];
    out.data_ptr<double>()[i] = m.means[k] + m.deviations[k] * stream.normal();
  }
  return out;
}

// Of two clouds of equal size.
inline double wasserstein(const Tensor& a, const Tensor& b) {
  return (std::get<0>(a.flatten().sort()) - std::get<0>(b.flatten().sort())).abs().mean().item<double>();
}

inline double correlation(const Tensor& a, const Tensor& b) {
  const Tensor x = a.flatten() - a.mean(), y = b.flatten() - b.mean();
  return ((x * y).sum() / (x.norm() * y.norm())).item<double>();
}
inline double rank_correlation(const Tensor& a, const Tensor& b) {
  return correlation(a.flatten().argsort().argsort().to(at::kDouble), b.flatten().argsort().argsort().to(at::kDouble));
}

// Images of [3, 2, 2]; the judge likes them near a fixed pattern. `calls` counts samples, as the budget does.
struct Picture {
  explicit Picture(int steps = 8, uint64_t seed = 1, const Coordinates& at = {})
      : exact(velocity_of(three_modes(), at)), sampler(flow::samplers().make("euler")) {
    problem.velocity = [this](const Tensor& z, double t) {
      calls += z.size(0);
      return exact(z, t);
    };
    problem.coordinates = at;
    problem.sigmas = flow::linear_sigmas(steps);
    problem.sampler = sampler.get();
    problem.draw_noise = [seed](std::string_view purpose, uint64_t index) { return normals(purpose, index, {1, 3, 2, 2}, seed); };
    problem.judges = {{.name = "toy", .score = [](const Tensor& images) { return score(images); }}};
  }
  Picture(const Picture&) = delete;
  static Tensor score(const Tensor& images) {
    const Tensor pattern = at::linspace(-1.3, 1.4, 12, at::kDouble).view({1, 3, 2, 2});
    return (images - pattern).square().flatten(1).mean(1).neg();
  }
  Tensor plain() const {
    return flow::denoise(exact, start_sample(problem.coordinates, problem.draw_noise("start", 0), problem.sigmas[0]), problem.sigmas, *sampler);
  }

  flow::VelocityFn exact;
  std::unique_ptr<flow::Sampler> sampler;
  SearchProblem problem;
  int64_t calls = 0;
};

}  // namespace resflow::search::toy
