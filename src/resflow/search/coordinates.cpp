#include "resflow/search/coordinates.h"

#include <ATen/ATen.h>

#include <cmath>

namespace resflow::search {

Tensor start_sample(const Coordinates& at, const Tensor& noise, double sigma) {
  const double scale = sigma * at.sigma_s;
  if (at.guess.defined() && sigma < 1) {
    const Tensor start = (1 - sigma) * at.guess + scale * noise;
    return at.center.defined() ? start + sigma * at.center : start;
  }
  if (!at.center.defined()) return scale == 1 ? noise : scale * noise;
  return at.center + scale * noise;
}

Tensor noise_hat(const Coordinates& at, const Tensor& z, const Tensor& velocity, double sigma) {
  const Tensor start = z + (1 - sigma) * velocity;
  return (at.center.defined() ? start - at.center : start) / at.sigma_s;
}

// Of z = (1 - t) x0 + t center + t sigma_s e, a = (1 - u) / (1 - t) keeps x0's share at u; center's is filled up to u, and fresh noise
// brings the variance to (u sigma_s)^2.
Tensor renoise(const Coordinates& at, const Tensor& z, const Tensor& noise, double sigma, double higher) {
  TORCH_CHECK(sigma <= higher && higher <= 1 && (sigma < 1 || higher == sigma), "renoise: wanted sigma <= higher <= 1, got ", sigma, " and ", higher);
  if (sigma == higher) return z;
  const double a = (1 - higher) / (1 - sigma), kept = a * sigma, fresh = std::sqrt(higher * higher - kept * kept);
  Tensor out = a * z + fresh * at.sigma_s * noise;
  if (at.center.defined()) out = out + (higher - kept) * at.center;
  return out;
}

}  // namespace resflow::search
