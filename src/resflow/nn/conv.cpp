#include "resflow/nn/conv.h"

#include <ATen/ATen.h>

#include "resflow/nn/init.h"

namespace resflow::nn {

Conv2d::Conv2d(Module& parent, const std::string& name, int64_t in, int64_t out, int64_t kernel, double gain)
    : Module(parent, name), in_(in), out_(out), kernel_(kernel), gain_(gain) {
  declare("weight", weight, {out, in, kernel, kernel});
  declare("bias", bias, {out});
}

Tensor Conv2d::forward(const Tensor& x) const { return at::conv2d(x, weight, bias, 1, kernel_ / 2); }

void Conv2d::initialise_own(const Stream& stream) {
  weight = gain_ == 0 ? at::zeros({out_, in_, kernel_, kernel_}) : uniform_fan_in(stream.child("weight"), {out_, in_, kernel_, kernel_}, gain_);
  bias = at::zeros({out_});
}

}  // namespace resflow::nn
