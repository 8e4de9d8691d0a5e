// What the flow knows of a model: a function from a noisy sample and its noise level to a velocity.
//   z_sigma = (1 - sigma) x0 + sigma * start,  velocity = start - x0,  sigma falls from 1 to 0
// `start` is noise for FLUX, the remover's output plus noise for the compact model.
#pragma once

#include <functional>

#include "resflow/core/tensor.h"

namespace resflow::flow {

// (z, sigma in (0, 1]) -> velocity of z's shape. One call = one model evaluation of each sample in the batch.
using VelocityFn = std::function<Tensor(const Tensor& z, double sigma)>;

// The clean estimate: z - sigma v.
Tensor predict_x0(const Tensor& z, const Tensor& velocity, double sigma);

}  // namespace resflow::flow
