#include "resflow/flow/denoise.h"

#include <ATen/ATen.h>

namespace resflow::flow {

Tensor predict_x0(const Tensor& z, const Tensor& velocity, double sigma) { return z - sigma * velocity; }

Tensor denoise(const VelocityFn& velocity, Tensor z, std::span<const double> sigmas, const Sampler& sampler, const Job& job) {
  for (size_t i = 0; i + 1 < sigmas.size(); ++i) {
    job.throw_if_stopped();
    const Tensor v = velocity(z, sigmas[i]);
    z = sampler.step({.z = z, .velocity = v, .sigma = sigmas[i], .sigma_next = sigmas[i + 1], .evaluate = velocity});
    job.report({.stage = "denoise", .done = static_cast<int64_t>(i) + 1, .of = static_cast<int64_t>(sigmas.size()) - 1});
  }
  return z;
}

}  // namespace resflow::flow
