// Norm over groups of a map's channels, with weight and bias.
#pragma once

#include "resflow/nn/module.h"

namespace resflow::nn {

class GroupNorm : public Module {
 public:
  GroupNorm(Module& parent, const std::string& name, int64_t groups, int64_t channels, double eps = 1e-6);
  Tensor forward(const Tensor& x) const;  // [B, C, ...] -> the same
  Tensor weight, bias;                    // [C]

 private:
  void initialise_own(const Stream& stream) override;
  int64_t groups_, channels_;
  double eps_;
};

}  // namespace resflow::nn
