// The dice of one degradation, thrown before any pixel is touched.
#pragma once

#include "resflow/core/rng.h"
#include "resflow/degradation/kernels.h"
#include "resflow/degradation/recipe.h"
#include "resflow/degradation/resize.h"

namespace resflow::degradation {

struct NoiseChoice {
  bool poisson = false, grey = false;
  double strength = 0;  // Gaussian: sigma of 255. Poisson: scale
};

struct OrderPlan {
  KernelChoice blur;
  double resize_factor = 1;
  Interpolation resize_mode = Interpolation::area;
  NoiseChoice noise;
  int jpeg_quality = 100;
};

struct Plan {
  OrderPlan first, second;
  KernelChoice final_sinc;
  Interpolation final_mode = Interpolation::area;
  bool jpeg_last = true;
};

// The same stream gives the same plan. Throws UserError for a recipe that check_recipe() refuses.
Plan draw_plan(const Recipe& recipe, const Stream& stream);

}  // namespace resflow::degradation
