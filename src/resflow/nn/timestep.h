// Sinusoidal embedding of a scalar, and the two-layer network that follows it (diffusers: TimestepEmbedding).
#pragma once

#include "resflow/nn/linear.h"

namespace resflow::nn {

// values [B] (FLUX feeds sigma * 1000) -> [B, width], cosines first (diffusers: flip_sin_to_cos, shift 0), computed in float32.
Tensor timestep_embedding(const Tensor& values, int64_t width);

class TimestepEmbedder : public Module {
 public:
  TimestepEmbedder(Module& parent, const std::string& name, int64_t in, int64_t width)
      : Module(parent, name), in_(in), linear_1(*this, "linear_1", in, width), linear_2(*this, "linear_2", width, width) {}
  Tensor forward(const Tensor& values) const;  // [B] -> [B, width]

 private:
  int64_t in_;

 public:
  Linear linear_1, linear_2;
};

}  // namespace resflow::nn
