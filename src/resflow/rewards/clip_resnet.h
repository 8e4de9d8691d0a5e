// CLIP's image tower of the other kind: a ResNet-50 with a stem of three convolutions, average pools for strides, and attention instead
// of the last pool (Radford et al. 2021, "ModifiedResNet").
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "resflow/nn/linear.h"
#include "resflow/text/clip_file.h"

namespace resflow::rewards {

// A convolution of 1x1 or 3x3 without a bias, and the batch norm behind it as it is in inference.
class ConvNorm : public nn::Module {
 public:
  // In the file they are PREFIX.CONV and PREFIX.NORM.
  ConvNorm(nn::Module& parent, const text::ClipFile& file, const std::string& prefix, const std::string& conv, const std::string& norm);
  Tensor forward(const Tensor& x, int64_t stride = 1) const;  // [B, in, H, W] -> [B, out, H / stride, W / stride]

 private:
  Tensor kernel_, weight_, bias_, mean_, variance_;
};

class ClipResnet : public nn::Module {
 public:
  // OpenAI's names ("visual.layer1.0.conv1.weight"); as many blocks as the file has; heads of 64. float32 on the CPU. Throws UserError.
  explicit ClipResnet(const text::ClipFile& file);
  // pixels [N, 3, H, W], normalised, any size from 32x32 up. The positional embedding, made for one size, is left out as CLIP-IQA has it.
  // -> [N, E], not of unit length
  Tensor forward(const Tensor& pixels) const;

 private:
  struct Block {
    std::unique_ptr<ConvNorm> conv1, conv2, conv3, shortcut;  // shortcut: none where the shapes agree
    int64_t stride = 1;
  };
  static Tensor run(const Block& block, const Tensor& x);
  Tensor attention_pool(const Tensor& x) const;  // [N, D, h, w] -> [N, E]

  std::vector<std::unique_ptr<ConvNorm>> stem_;
  std::vector<Block> blocks_;
  Tensor position_;  // a part of the file, not used
  std::unique_ptr<nn::Linear> q_proj_, k_proj_, v_proj_, c_proj_;
};

}  // namespace resflow::rewards
