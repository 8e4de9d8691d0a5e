#include "resflow/nn/group_norm.h"

#include <ATen/ATen.h>

namespace resflow::nn {

GroupNorm::GroupNorm(Module& parent, const std::string& name, int64_t groups, int64_t channels, double eps)
    : Module(parent, name), groups_(groups), channels_(channels), eps_(eps) {
  declare("weight", weight, {channels});
  declare("bias", bias, {channels});
}

Tensor GroupNorm::forward(const Tensor& x) const { return at::group_norm(x, groups_, weight, bias, eps_); }

void GroupNorm::initialise_own(const Stream&) {
  weight = at::ones({channels_});
  bias = at::zeros({channels_});
}

}  // namespace resflow::nn
