#include <ATen/ATen.h>

#include "resflow/flow/sampler.h"

namespace resflow::flow {
namespace {

class Euler final : public Sampler {
 public:
  Tensor step(const Step& s) const override { return s.z + (s.sigma_next - s.sigma) * s.velocity; }
};

}  // namespace

Entry<Sampler> sampler_euler() { return entry<Sampler, Euler>("euler", "First-order step, one model call."); }

}  // namespace resflow::flow
