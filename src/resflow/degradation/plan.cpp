#include "resflow/degradation/plan.h"

#include <cmath>
#include <numbers>

namespace resflow::degradation {
namespace {

constexpr double kPi = std::numbers::pi;

double draw(Stream& dice, const Interval& interval) { return dice.uniform(interval.low, interval.high); }
int draw_size(Stream& dice) { return 2 * static_cast<int>(dice.integer(3, 10)) + 1; }
Interpolation draw_mode(Stream& dice) { return static_cast<Interpolation>(dice.integer(0, 2)); }

KernelChoice draw_blur(const Order& order, Stream& dice) {
  KernelChoice k;
  if (!dice.chance(order.blur_probability)) return k;
  k.size = draw_size(dice);
  if (dice.chance(order.sinc_probability)) {
    k.kind = KernelKind::sinc;
    k.cutoff = dice.uniform(k.size < 13 ? kPi / 3 : kPi / 5, kPi);
    return k;
  }
  k.kind = static_cast<KernelKind>(dice.pick({order.isotropic, order.anisotropic, order.generalised_isotropic, order.generalised_anisotropic,
                                              order.plateau_isotropic, order.plateau_anisotropic}));
  k.sigma_x = draw(dice, order.blur_sigma);
  k.sigma_y = draw(dice, order.blur_sigma);
  k.angle = dice.uniform(-kPi, kPi);
  const bool generalised = k.kind == KernelKind::generalised_isotropic || k.kind == KernelKind::generalised_anisotropic;
  const Interval& beta = generalised ? order.generalised_beta : order.plateau_beta;
  k.beta = dice.chance(.5) ? dice.uniform(beta.low, 1) : dice.uniform(1, beta.high);
  return k;
}

OrderPlan draw_order(const Order& order, Stream dice) {
  OrderPlan plan;
  plan.blur = draw_blur(order, dice);
  switch (dice.pick({order.resize_up, order.resize_down, 1 - order.resize_up - order.resize_down})) {
    case 0:
      plan.resize_factor = dice.uniform(1, order.resize_range.high);
      break;
    case 1:
      plan.resize_factor = dice.uniform(order.resize_range.low, 1);
      break;
    default:
      break;
  }
  plan.resize_mode = draw_mode(dice);
  plan.noise.poisson = !dice.chance(order.gaussian_probability);
  plan.noise.strength = draw(dice, plan.noise.poisson ? order.poisson_scale : order.gaussian_sigma);
  plan.noise.grey = dice.chance(order.grey_probability);
  plan.jpeg_quality = static_cast<int>(std::lround(draw(dice, order.jpeg_quality)));
  return plan;
}

}  // namespace

Plan draw_plan(const Recipe& recipe, const Stream& stream) {
  check_recipe(recipe);
  Plan plan;
  plan.first = draw_order(recipe.first, stream.child("first"));
  plan.second = draw_order(recipe.second, stream.child("second"));
  Stream dice = stream.child("final");
  if (dice.chance(recipe.final_sinc_probability)) {
    plan.final_sinc.kind = KernelKind::sinc;
    plan.final_sinc.size = draw_size(dice);
    plan.final_sinc.cutoff = dice.uniform(kPi / 3, kPi);
  }
  plan.final_mode = draw_mode(dice);
  plan.jpeg_last = dice.chance(recipe.jpeg_last_probability);
  return plan;
}

}  // namespace resflow::degradation
