// The coordinates a search moves in, for plain flows and for those that start from the degradation remover alike:
//
//   z_t = (1 - t) x0 + t (center + sigma_s noise),   velocity = center + sigma_s noise - x0
//
// Plain flow: center = 0, sigma_s = 1. PMRF's coordinates: center = y*, sigma_s the start noise (docs/conventions.md).
#pragma once

#include "resflow/core/tensor.h"

namespace resflow::search {

struct Coordinates {
  Tensor center;  // broadcasts against z; undefined = 0
  double sigma_s = 1;
  Tensor guess;  // x0 as far as it is known before the flow, where that is not center; broadcasts against z; undefined: center
};

// A sample at `sigma` from its noise: the guess is taken for x0, which makes no difference at sigma = 1. noise: unit normals.
Tensor start_sample(const Coordinates& at, const Tensor& noise, double sigma);
// The estimate of the unit noise in z: (z + (1 - sigma) v - center) / sigma_s.
Tensor noise_hat(const Coordinates& at, const Tensor& z, const Tensor& velocity, double sigma);
// z moved up from `sigma` to `higher` by the flow's own forward process: what z would be at `higher` with part of its noise fresh.
// Marginals are exact. noise: unit normals of z's shape.
Tensor renoise(const Coordinates& at, const Tensor& z, const Tensor& noise, double sigma, double higher);

}  // namespace resflow::search
