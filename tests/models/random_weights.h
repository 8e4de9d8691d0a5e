// Weights for tests of untrained models.
#pragma once

#include <ATen/ATen.h>

#include "resflow/nn/module.h"

namespace resflow::models {

// Training's own initial weights, and noise on all of them: what starts as the zero map (outputs, gates, deltas) works too.
inline void randomise(nn::Module& module, uint64_t seed) {
  const Stream stream(seed, "test weights");
  module.initialise(stream);
  for (const auto& tensor : module.named_parameters()) *tensor.slot += 0.05 * normal_like_shape(stream.child(tensor.name, 1), tensor.shape);
}

inline Tensor drawn(const char* purpose, at::IntArrayRef shape) { return normal_like_shape(Stream(1, purpose), shape); }
inline double distance(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

}  // namespace resflow::models
