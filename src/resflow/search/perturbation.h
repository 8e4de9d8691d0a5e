// Small random changes of a sample in flight, from which siblings are made. One file and one line of perturbation_list.inc each.
#pragma once

#include "resflow/core/registry.h"
#include "resflow/search/coordinates.h"

namespace resflow::search {

struct PerturbInput {
  const Tensor& z;         // at `sigma`
  const Tensor& velocity;  // there; may be undefined where needs_velocity() is false
  const Tensor& noise;     // fresh unit normals, z's shape
  double sigma, rho;       // rho: added noise relative to what z holds, 0..1
  const Coordinates& at;
};

struct Perturbed {
  Tensor z;
  double sigma;  // where it stands now: equal to the input's, or above
};

class Perturbation {
 public:
  virtual ~Perturbation() = default;
  virtual Perturbed apply(const PerturbInput& in) const = 0;
  // The velocity at z is one model call, which siblings share.
  virtual bool needs_velocity() const = 0;
};

const Registry<Perturbation>& perturbations();

}  // namespace resflow::search
