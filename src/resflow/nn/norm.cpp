#include "resflow/nn/norm.h"

#include <ATen/ATen.h>

namespace resflow::nn {

Tensor plain_layer_norm(const Tensor& x) { return at::layer_norm(x, {x.size(-1)}, {}, {}, 1e-6); }

Tensor RmsNorm::forward(const Tensor& x) const {
  const Tensor wide = x.to(at::kFloat);
  const Tensor scaled = wide * at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps_);
  return scaled.to(x.scalar_type()) * weight;
}

void RmsNorm::initialise_own(const Stream&) { weight = at::ones({width_}); }

}  // namespace resflow::nn
