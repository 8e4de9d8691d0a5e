// The denoise loop.
#pragma once

#include <functional>
#include <span>

#include "resflow/core/progress.h"
#include "resflow/flow/sampler.h"

namespace resflow::flow {

// Carries z from sigmas.front() to sigmas.back(). Reports stage "denoise", one unit a step, to `job`; throws Cancelled when asked.
Tensor denoise(const VelocityFn& velocity, Tensor z, std::span<const double> sigmas, const Sampler& sampler, const Job& job = {});

}  // namespace resflow::flow
