#pragma once

#include "resflow/degradation/kernels.h"
#include "resflow/degradation/planes.h"

namespace resflow::degradation {

// Index i of a line of n pixels mirrored about its end pixels (which are not repeated), however far outside: -1 -> 1, n -> n - 2.
int64_t reflect(int64_t i, int64_t n);

// Convolves in place, with a reflected border. Needs memory for one more plane.
void filter(Planes& image, const Kernel& kernel);

}  // namespace resflow::degradation
