// Stochastic steps with the flow's own marginals, for the searches that draw fresh noise at every step (rollover, smc).
#pragma once

#include <vector>

#include "resflow/search/coordinates.h"

namespace resflow::search {

// One step from `sigma` down to `next` of dz = v dt - g^2 / 2 score dt + g dw, score = -noise_hat / (sigma sigma_s), t falling: the flow's part is
// Euler's, the Langevin part exact given noise_hat, so that no step is too coarse for it. g is in units of sigma_s, so that a small start noise stays
// small. noise: unit normals; next = 0 takes no noise.
Tensor sde_step(const Coordinates& at, const Tensor& z, const Tensor& velocity, const Tensor& noise, double sigma, double next, double g);

// The linear path's diffusion coefficient of Kim et al. (2503.19385): norm t^2.
double square_diffusion(double sigma, double norm);

// The variance-preserving path of the same paper: alpha = exp(-T / 2), spread = sqrt(1 - exp(-T)), T(s) = (20 - 0.1) s^2 / 2 + 0.1 s.
// A sample of it is c times one of the flow at flow_sigma, c = alpha + spread.
struct VpLevel {
  double s, alpha, spread;
  double flow_sigma() const { return spread / (alpha + spread); }
};
VpLevel vp_level(double s);
// The level whose flow_sigma is `sigma`; s = 1 above its highest, 0.9935.
VpLevel vp_level_at(double sigma);

// steps + 1 levels from `first`'s down to 0 over their time schedule sqrt(1 - (1 - t)^2): many steps where it is noisy, and a last one of
// ten from sigma 0.71, which suits few-step models only.
std::vector<VpLevel> vp_levels(int64_t steps, double first = 1);

// A step of the variance-preserving path's SDE, written in the flow's coordinates: the drift is exact given x0_hat and noise_hat (there it
// is Euler's step of the flow), and so is the Langevin part, with g in units of sigma_s. from.flow_sigma() must be z's level.
Tensor vp_sde_step(const Coordinates& at, const Tensor& z, const Tensor& velocity, const Tensor& noise, double sigma, const VpLevel& from,
                   const VpLevel& to, double sigma_next, double g);

}  // namespace resflow::search
