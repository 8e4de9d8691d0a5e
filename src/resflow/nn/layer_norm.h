// Layer norm over the last axis, with weight and bias.
#pragma once

#include "resflow/nn/module.h"

namespace resflow::nn {

class LayerNorm : public Module {
 public:
  LayerNorm(Module& parent, const std::string& name, int64_t width, double eps = 1e-5);
  Tensor forward(const Tensor& x) const;  // [..., D] -> [..., D]
  Tensor weight, bias;                    // [D]

 private:
  void initialise_own(const Stream& stream) override;
  int64_t width_;
  double eps_;
};

}  // namespace resflow::nn
