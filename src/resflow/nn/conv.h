// 2-D convolution, stride 1, "same" zero padding.
#pragma once

#include "resflow/nn/module.h"

namespace resflow::nn {

class Conv2d : public Module {
 public:
  // gain scales the initial weights; 0 starts as the zero map.
  Conv2d(Module& parent, const std::string& name, int64_t in, int64_t out, int64_t kernel, double gain = 1.0);

  // [B, in, H, W] -> [B, out, H, W]
  Tensor forward(const Tensor& x) const;

  Tensor weight;  // [out, in, kernel, kernel]
  Tensor bias;    // [out]

 private:
  void initialise_own(const Stream& stream) override;
  int64_t in_, out_, kernel_;
  double gain_;
};

}  // namespace resflow::nn
