#include "resflow/search/estimator.h"

#include <ATen/ATen.h>

namespace resflow::search {

std::vector<std::string> estimator_names() { return {"mspde", "tweedie"}; }

std::vector<double> look_ahead_sigmas(double sigma, int64_t strides) {
  std::vector<double> out;
  for (int64_t i = 0; i <= strides; ++i)
    out.push_back(strides == 0 ? sigma : sigma * (1 - (1 - kLookAheadFloor) * static_cast<double>(i) / static_cast<double>(strides)));
  return out;
}

Tensor look_ahead(const flow::VelocityFn& velocity, const Tensor& z, const Tensor& first, double sigma, int64_t strides) {
  const auto sigmas = look_ahead_sigmas(sigma, strides);
  Tensor at = z, v = first;
  for (size_t i = 1; i < sigmas.size(); ++i) {
    at = at + (sigmas[i] - sigmas[i - 1]) * v;
    v = velocity(at, sigmas[i]);
  }
  return flow::predict_x0(at, v, sigmas.back());
}

}  // namespace resflow::search
