#include "resflow/nn/timestep.h"

#include <ATen/ATen.h>

#include <cmath>

namespace resflow::nn {

Tensor timestep_embedding(const Tensor& values, int64_t width) {
  const int64_t half = width / 2;
  const Tensor frequency =
      at::exp(at::arange(half, values.options().dtype(at::kFloat)) * (-std::log(10000.0) / static_cast<double>(half)));  // [half]
  const Tensor angles = values.to(at::kFloat).unsqueeze(1) * frequency;                                                  // [B, half]
  return at::cat({angles.cos(), angles.sin()}, 1);
}

Tensor TimestepEmbedder::forward(const Tensor& values) const {
  const Tensor embedded = timestep_embedding(values, in_).to(linear_1.dtype());
  return linear_2.forward(at::silu(linear_1.forward(embedded)));
}

}  // namespace resflow::nn
