#include "resflow/nn/init.h"

#include <ATen/ATen.h>

#include <cmath>

namespace resflow::nn {

Tensor uniform_fan_in(const Stream& stream, at::IntArrayRef shape, double gain) {
  Tensor out = at::empty(shape, at::kFloat);
  const double bound = gain * std::sqrt(3.0 / static_cast<double>(out.numel() / shape[0]));
  Stream draws = stream;
  auto* data = out.data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) data[i] = static_cast<float>(draws.uniform(-bound, bound));
  return out;
}

}  // namespace resflow::nn
