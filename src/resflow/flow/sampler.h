// ODE solvers. Stateless: a step may be taken twice, from any sigma to any other, as the search needs.
#pragma once

#include "resflow/core/registry.h"
#include "resflow/flow/velocity.h"

namespace resflow::flow {

struct Step {
  const Tensor& z;             // the sample at `sigma`
  const Tensor& velocity;      // the model's velocity there, same shape
  double sigma, sigma_next;    // sigma > sigma_next >= 0
  const VelocityFn& evaluate;  // for solvers that need more than one velocity
};

class Sampler {
 public:
  virtual ~Sampler() = default;
  // The sample at sigma_next.
  virtual Tensor step(const Step& step) const = 0;
  // Velocities one step costs, the given one included.
  virtual int calls_per_step() const { return 1; }
};

const Registry<Sampler>& samplers();

}  // namespace resflow::flow
