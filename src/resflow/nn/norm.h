// Normalisations of tokens.
#pragma once

#include "resflow/nn/module.h"

namespace resflow::nn {

// Layer norm over the last axis without weights, eps 1e-6 (FLUX's norm before a modulation). [..., D] -> [..., D]
Tensor plain_layer_norm(const Tensor& x);

// Root-mean-square norm over the last axis with a weight, computed in float32: bf16 loses two digits.
class RmsNorm : public Module {
 public:
  RmsNorm(Module& parent, const std::string& name, int64_t width, double eps = 1e-6) : Module(parent, name), width_(width), eps_(eps) {
    declare("weight", weight, {width});
  }
  Tensor forward(const Tensor& x) const;  // [..., D] -> [..., D]
  Tensor weight;                          // [D]

 private:
  void initialise_own(const Stream& stream) override;
  int64_t width_;
  double eps_;
};

}  // namespace resflow::nn
