// The noise levels a sampler visits.
#pragma once

#include <vector>

namespace resflow::flow {

// steps + 1 levels, falling from `first` (in (0, 1]) to 0, evenly spaced.
std::vector<double> linear_sigmas(int steps, double first = 1.0);

// Moves levels towards noise as larger images need (FLUX, diffusers' "exponential" time shift): e^mu / (e^mu + 1/sigma - 1). mu = 0
// changes nothing; 0 and 1 stay.
std::vector<double> shift_sigmas(std::vector<double> sigmas, double mu);

// mu for an image of so many tokens: a line through (256, 0.5) and (4096, 1.15), extended at both ends, not clamped (diffusers'
// calculate_shift; a 2048x2048 image has 16384 tokens and mu 3.23).
double resolution_mu(double image_tokens);

}  // namespace resflow::flow
