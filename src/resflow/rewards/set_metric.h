// Numbers that compare two sets of pictures as wholes, such as FID. One file and one line of set_list.inc each.
#pragma once

#include "resflow/core/registry.h"
#include "resflow/core/tensor.h"

namespace resflow::rewards {

class SetMetric {
 public:
  virtual ~SetMetric() = default;

  // What is remembered of a picture. image: float [1, 3, H, W], 0..1, any size -> float [F] on the CPU
  virtual Tensor features(const Tensor& image) const = 0;
  // predictions [N, F], references [M, F]: rows of features(). Throws UserError where a set is too small.
  virtual double distance(const Tensor& predictions, const Tensor& references) const = 0;
  virtual bool higher_is_better() const = 0;
};

// All of them read weight files that are not shipped, when they are made; a missing one is a UserError.
const Registry<SetMetric>& set_metrics();

}  // namespace resflow::rewards
