// The estimated noise is turned towards fresh noise: z' = (1 - t) x0_hat + t (center + sigma_s (sqrt(1 - rho^2) noise_hat + rho n)), which is one
// Langevin step of size (rho t sigma_s)^2. The variance is kept to O(rho^4).
#include <ATen/ATen.h>

#include <cmath>

#include "resflow/search/perturbation.h"

namespace resflow::search {
namespace {

class Preserve final : public Perturbation {
 public:
  Perturbed apply(const PerturbInput& in) const override {
    const double cosine = std::sqrt(1 - in.rho * in.rho);
    const Tensor turned = (cosine - 1) * noise_hat(in.at, in.z, in.velocity, in.sigma) + in.rho * in.noise;
    return {in.z + in.sigma * in.at.sigma_s * turned, in.sigma};
  }
  bool needs_velocity() const override { return true; }
};

}  // namespace

Entry<Perturbation> perturbation_preserve() {
  return entry<Perturbation, Preserve>("preserve", "The estimated noise is turned towards fresh noise: same noise level, one shared model call");
}

}  // namespace resflow::search
