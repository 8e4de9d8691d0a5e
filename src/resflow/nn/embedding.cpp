#include "resflow/nn/embedding.h"

#include <ATen/ATen.h>

#include "resflow/nn/init.h"

namespace resflow::nn {

Embedding::Embedding(Module& parent, const std::string& name, int64_t count, int64_t width) : Module(parent, name), count_(count), width_(width) {
  declare("weight", weight, {count, width}, &quantised);
}

Tensor Embedding::forward(const Tensor& numbers) const { return quantised.defined() ? quantised.rows(numbers) : at::embedding(weight, numbers); }

void Embedding::initialise_own(const Stream& stream) { weight = uniform_fan_in(stream.child("weight"), {count_, width_}); }

}  // namespace resflow::nn
