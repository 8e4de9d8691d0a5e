#include "resflow/degradation/recipe.h"

namespace resflow::degradation {

// The values of the published training options (xinntao/Real-ESRGAN, train_realesrgan_x4plus.yml).
Recipe real_esrgan() {
  Recipe r;
  r.first.blur_sigma = {.2, 3};
  r.first.resize_up = .2;
  r.first.resize_down = .7;
  r.first.resize_range = {.15, 1.5};
  r.first.gaussian_sigma = {1, 30};
  r.first.poisson_scale = {.05, 3};
  r.first.jpeg_quality = {30, 95};

  r.second.blur_probability = .8;
  r.second.blur_sigma = {.2, 1.5};
  r.second.resize_range = {.3, 1.2};
  r.second.gaussian_sigma = {1, 25};
  r.second.poisson_scale = {.05, 2.5};
  r.second.jpeg_quality = {30, 95};
  return r;
}

}  // namespace resflow::degradation
