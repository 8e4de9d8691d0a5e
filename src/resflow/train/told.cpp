#include "resflow/train/told.h"

#include <algorithm>
#include <cmath>

namespace resflow::train {
namespace {

using degradation::KernelChoice;
using degradation::KernelKind;
using degradation::NoiseChoice;
using models::Said;

// Where `none` ends and `strong` begins, so that each is said of about a third of see-sr's pictures at 4x.
constexpr double kBlur[] = {.3, .55};  // pixels of the result
constexpr double kNoise[] = {3, 4.7};  // of 255
constexpr double kLoss[] = {12, 27};   // 100 - JPEG quality

Said said(double amount, const double (&bounds)[2]) { return amount < bounds[0] ? Said::none : amount < bounds[1] ? Said::some : Said::strong; }

double blur_of(const KernelChoice& kernel) {
  switch (kernel.kind) {
    case KernelKind::none:
      return 0;
    case KernelKind::sinc:
      return 1.5 / kernel.cutoff;  // passes half of what a Gaussian of that width does at its cut-off
    case KernelKind::isotropic:
    case KernelKind::generalised_isotropic:
    case KernelKind::plateau_isotropic:
      return kernel.sigma_x;
    default:
      return std::sqrt(kernel.sigma_x * kernel.sigma_y);
  }
}

// Poisson of scale 1 is the shot noise of 256 photons at white.
double noise_of(const NoiseChoice& noise) { return noise.poisson ? noise.strength * 255 * std::sqrt(.5 / 256) : noise.strength; }

}  // namespace

models::Words words_for(const degradation::Plan& plan, int scale) {
  // Sides of the result over those of the picture that each order works on.
  const double whole = 1.0 / scale, after_first = whole / plan.first.resize_factor, after_second = after_first / plan.second.resize_factor;
  const double blur = std::hypot(blur_of(plan.first.blur) * whole, blur_of(plan.second.blur) * after_first);
  const double noise = std::hypot(noise_of(plan.first.noise) * std::min(1.0, after_first), noise_of(plan.second.noise) * std::min(1.0, after_second));
  return {said(blur, kBlur), said(noise, kNoise), said(100 - plan.second.jpeg_quality, kLoss)};
}

}  // namespace resflow::train
