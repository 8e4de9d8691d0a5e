#include "resflow/degradation/recipe.h"

namespace resflow::degradation {

// The milder values that StableSR, SeeSR and DreamClear train with.
Recipe see_sr() {
  Recipe r;
  r.first.blur_sigma = {.2, 3};
  r.first.resize_up = .2;
  r.first.resize_down = .7;
  r.first.resize_range = {.3, 1.5};
  r.first.gaussian_sigma = {1, 15};
  r.first.poisson_scale = {.05, 2};
  r.first.jpeg_quality = {60, 95};

  r.second.blur_probability = .5;
  r.second.blur_sigma = {.2, 1.5};
  r.second.resize_range = {.6, 1.2};
  r.second.gaussian_sigma = {1, 12};
  r.second.poisson_scale = {.05, 1};
  r.second.jpeg_quality = {60, 100};
  return r;
}

}  // namespace resflow::degradation
