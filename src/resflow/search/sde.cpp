#include "resflow/search/sde.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace resflow::search {

namespace {

// z at `level`, with a part of its noise exchanged for fresh: the Langevin part of a step, integrated exactly (it is an Ornstein-Uhlenbeck process
// whose law is the unit normal's), so that a coarse step forgets its noise instead of overshooting. rate: g^2 dt / (2 spread^2).
Tensor stirred(const Coordinates& at, const Tensor& z, const Tensor& estimated, const Tensor& noise, double level, double rate) {
  return z + at.sigma_s * level * (std::expm1(-rate) * estimated + std::sqrt(-std::expm1(-2 * rate)) * noise);
}

}  // namespace

Tensor sde_step(const Coordinates& at, const Tensor& z, const Tensor& velocity, const Tensor& noise, double sigma, double next, double g) {
  const Tensor moved = z + (next - sigma) * velocity;
  if (next <= 0) return moved;
  return stirred(at, moved, noise_hat(at, z, velocity, sigma), noise, next, g * g * (sigma - next) / (2 * sigma * sigma));
}

double square_diffusion(double sigma, double norm) { return norm * sigma * sigma; }

VpLevel vp_level(double s) {
  const double total = 0.5 * (20 - 0.1) * s * s + 0.1 * s;
  return {.s = s, .alpha = std::exp(-total / 2), .spread = std::sqrt(std::max(0.0, 1 - std::exp(-total)))};
}

VpLevel vp_level_at(double sigma) {
  if (sigma <= 0) return vp_level(0);
  if (sigma >= vp_level(1).flow_sigma()) return vp_level(1);
  double low = 0, high = 1;  // flow_sigma grows with s
  for (int i = 0; i < 60; ++i) (vp_level((low + high) / 2).flow_sigma() > sigma ? high : low) = (low + high) / 2;
  return vp_level(high);
}

std::vector<VpLevel> vp_levels(int64_t steps, double first) {
  const double highest = vp_level_at(first).s;
  std::vector<VpLevel> out;
  for (int64_t i = 0; i <= steps; ++i) {
    const double down = static_cast<double>(i) / static_cast<double>(steps);  // 1 - t
    out.push_back(vp_level(highest * std::sqrt(std::max(0.0, 1 - down * down))));
  }
  return out;
}

Tensor vp_sde_step(const Coordinates& at, const Tensor& z, const Tensor& velocity, const Tensor& noise, double sigma, const VpLevel& from,
                   const VpLevel& to, double sigma_next, double g) {
  const Tensor moved = z + (sigma_next - sigma) * velocity;
  if (sigma_next <= 0) return moved;
  return stirred(at, moved, noise_hat(at, z, velocity, sigma), noise, sigma_next, g * g * (from.s - to.s) / (2 * from.spread * from.spread));
}

}  // namespace resflow::search
