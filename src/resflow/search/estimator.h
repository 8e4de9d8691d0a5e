// What a sample in flight will become, for a fraction of the calls that finishing it takes.
#pragma once

#include <string>
#include <vector>

#include "resflow/flow/velocity.h"

namespace resflow::search {

// tweedie: x0_hat = z - sigma v, one call. mspde: multi-step partial denoising, then x0_hat from there.
std::vector<std::string> estimator_names();

// How far down mspde goes, as a share of sigma. On a toy with exact velocities few long strides to here beat as many of the sampler's own
// steps by far (rank correlation with the final reward at sigma 0.5 with two strides: 0.95 against 0.67).
inline constexpr double kLookAheadFloor = 0.4;

// strides + 1 levels from sigma to kLookAheadFloor * sigma, evenly spaced.
std::vector<double> look_ahead_sigmas(double sigma, int64_t strides);

// Euler over those, then x0_hat. strides = 0 is tweedie's estimate. first: the velocity at (z, sigma), which is not counted here; `strides`
// more calls are made.
Tensor look_ahead(const flow::VelocityFn& velocity, const Tensor& z, const Tensor& first, double sigma, int64_t strides);

}  // namespace resflow::search
