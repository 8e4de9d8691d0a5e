#include "resflow/nn/conv.h"

#include <ATen/ATen.h>

#include "resflow/nn/init.h"

namespace resflow::nn {

Conv2d::Conv2d(Module& parent, const std::string& name, int64_t in, int64_t out, int64_t kernel, const Options& options)
    : Module(parent, name), in_(in), out_(out), kernel_(kernel), options_(options) {
  declare("weight", weight, {out, in, kernel, kernel});
  if (options.bias) declare("bias", bias, {out});
}

Tensor Conv2d::forward(const Tensor& x) const { return at::conv2d(x, weight, bias, options_.stride, options_.padding.value_or(kernel_ / 2)); }

void Conv2d::initialise_own(const Stream& stream) {
  const bool zero = options_.gain == 0;
  weight = zero ? at::zeros({out_, in_, kernel_, kernel_}) : uniform_fan_in(stream.child("weight"), {out_, in_, kernel_, kernel_}, options_.gain);
  if (options_.bias) bias = at::zeros({out_});
}

}  // namespace resflow::nn
