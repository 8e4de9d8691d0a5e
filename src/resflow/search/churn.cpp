// The same added noise, and the sample moved up to the noise level that it then has (EDM's churn, Karras et al. 2022, algorithm 2): with
// q = t sqrt(1 + rho^2) and c = (1 - t) + q, z' = (z + rho t sigma_s n + (q - t) center) / c stands at t' = q / c. Exact for any rho.
#include <ATen/ATen.h>

#include <cmath>

#include "resflow/search/perturbation.h"

namespace resflow::search {
namespace {

class Churn final : public Perturbation {
 public:
  Perturbed apply(const PerturbInput& in) const override {
    const double q = in.sigma * std::sqrt(1 + in.rho * in.rho), c = 1 - in.sigma + q;
    Tensor z = in.z + in.rho * in.sigma * in.at.sigma_s * in.noise;
    if (in.at.center.defined()) z = z + (q - in.sigma) * in.at.center;
    return {z / c, q / c};
  }
  bool needs_velocity() const override { return false; }
};

}  // namespace

Entry<Perturbation> perturbation_churn() {
  return entry<Perturbation, Churn>("churn", "Noise is added and the noise level raised to match: exact, a little more way to go");
}

}  // namespace resflow::search
