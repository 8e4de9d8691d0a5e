// 2-D convolution with zero padding.
#pragma once

#include <optional>

#include "resflow/nn/module.h"

namespace resflow::nn {

class Conv2d : public Module {
 public:
  struct Options {
    int64_t stride = 1;
    std::optional<int64_t> padding;  // on each side; unset: half the kernel, which keeps the size at stride 1
    bool bias = true;
    double gain = 1.0;  // scales the initial weights; 0 starts as the zero map
  };
  Conv2d(Module& parent, const std::string& name, int64_t in, int64_t out, int64_t kernel, const Options& options);
  Conv2d(Module& parent, const std::string& name, int64_t in, int64_t out, int64_t kernel, double gain = 1.0)
      : Conv2d(parent, name, in, out, kernel, Options{.gain = gain}) {}

  // [B, in, H, W] -> [B, out, H / stride, W / stride]
  Tensor forward(const Tensor& x) const;

  Tensor weight;  // [out, in, kernel, kernel]
  Tensor bias;    // [out], or undefined

 private:
  void initialise_own(const Stream& stream) override;
  int64_t in_, out_, kernel_;
  Options options_;
};

}  // namespace resflow::nn
