#include "resflow/nn/layer_norm.h"

#include <ATen/ATen.h>

namespace resflow::nn {

LayerNorm::LayerNorm(Module& parent, const std::string& name, int64_t width, double eps) : Module(parent, name), width_(width), eps_(eps) {
  declare("weight", weight, {width});
  declare("bias", bias, {width});
}

Tensor LayerNorm::forward(const Tensor& x) const { return at::layer_norm(x, {width_}, weight, bias, eps_); }

void LayerNorm::initialise_own(const Stream&) {
  weight = at::ones({width_});
  bias = at::zeros({width_});
}

}  // namespace resflow::nn
