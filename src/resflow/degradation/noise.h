#pragma once

#include "resflow/core/rng.h"
#include "resflow/degradation/planes.h"

namespace resflow::degradation {

// Adds normal noise of standard deviation sigma / 255, the same in all channels where `grey`, and clamps to 0..1.
void add_gaussian_noise(Planes& image, double sigma, bool grey, const Stream& stream);

// Adds `scale` times the shot noise of a sensor that counts as many photons at white as the picture has distinct levels,
// rounded up to a power of two (BasicSR's convention), and clamps to 0..1. Values must lie in 0..1.
void add_poisson_noise(Planes& image, double scale, bool grey, const Stream& stream);

}  // namespace resflow::degradation
