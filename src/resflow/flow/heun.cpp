#include <ATen/ATen.h>

#include "resflow/flow/sampler.h"

namespace resflow::flow {
namespace {

class Heun final : public Sampler {
 public:
  Tensor step(const Step& s) const override {
    const double delta = s.sigma_next - s.sigma;
    const Tensor predicted = s.z + delta * s.velocity;
    if (s.sigma_next <= 0) return predicted;  // the model is not defined at 0
    return s.z + delta / 2 * (s.velocity + s.evaluate(predicted, s.sigma_next));
  }
  int calls_per_step() const override { return 2; }
};

}  // namespace

Entry<Sampler> sampler_heun() { return entry<Sampler, Heun>("heun", "Second-order step, two model calls (one at the last step)."); }

}  // namespace resflow::flow
