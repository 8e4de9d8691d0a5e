// The degradation remover (DR): a light convolutional network that takes an enlarged low-quality image to the clean reference y*,
// trained for PSNR. Its features are a condition of the flow, computed once an image.
#pragma once

#include <memory>
#include <vector>

#include "resflow/models/compact/config.h"
#include "resflow/nn/conv.h"
#include "resflow/nn/linear.h"

namespace resflow::models {

// conv - leaky ReLU - conv, added to the input; with an embedding, its scale and shift act between the two (FiLM).
class ResidualBlock : public nn::Module {
 public:
  // embedding = width of the embedding, 0 for none. gain: size of what it adds at the start of training, to its input's.
  ResidualBlock(Module& parent, const std::string& name, int64_t channels, int64_t embedding, double gain = 0.3);
  Tensor forward(const Tensor& x, const Tensor& embedding = {}) const;  // [B, C, h, w], [B, embedding] -> [B, C, h, w]

  nn::Conv2d conv1, conv2;
  std::unique_ptr<nn::Linear> film;
};

class CompactRemover : public nn::Module {
 public:
  explicit CompactRemover(const CompactConfig& config);

  struct Output {
    Tensor reference;  // y*, [B, 3, H, W], about 0..1, not clamped
    Tensor features;   // [B, channels, H/4, W/4]
  };
  // image: the LQ image enlarged to the target's size, [B, 3, H, W], 0..1, H and W multiples of 4.
  Output forward(const Tensor& image) const;

  static constexpr int64_t kUnshuffle = 4;

 private:
  nn::Conv2d conv_in_;
  std::vector<std::unique_ptr<ResidualBlock>> blocks_;
  nn::Conv2d conv_out_;
};

}  // namespace resflow::models
