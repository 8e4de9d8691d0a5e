// The paper's, to the letter: an SDE step without its drift, dx = g dw. z' = z + rho t sigma_s n. The noise in z' is sqrt(1 + rho^2) times what
// the model is told, so over many rounds with rho above 0.2 grain is left in the result.
#include <ATen/ATen.h>

#include "resflow/search/perturbation.h"

namespace resflow::search {
namespace {

class ZeroDrift final : public Perturbation {
 public:
  Perturbed apply(const PerturbInput& in) const override { return {in.z + in.rho * in.sigma * in.at.sigma_s * in.noise, in.sigma}; }
  bool needs_velocity() const override { return false; }
};

}  // namespace

Entry<Perturbation> perturbation_zero_drift() {
  return entry<Perturbation, ZeroDrift>("zero-drift", "The paper's: noise is added, the noise level stays as told (use rho up to 0.2)");
}

}  // namespace resflow::search
