// Inception-v3 (Szegedy et al. 2015, arXiv 1512.00567) with the weights that FID is defined on: TensorFlow's of 2015-12-05, which
// pytorch-fid brought under torchvision's names. It differs from torchvision's network: average pools leave the padding out of the
// mean, and the last block has a max pool in the place of one.
#pragma once

#include <array>
#include <initializer_list>
#include <map>
#include <string>

#include "resflow/core/tensor.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::rewards {

class Inception {
 public:
  // Every convolution has to be there with its shape, and nothing but the classifier may be left over. float32 on the CPU. Throws
  // UserError.
  explicit Inception(const weights::TensorFile& file);
  // images: [B, 3, 299, 299], -1..1 -> the last map's mean, [B, 2048]
  Tensor features(const Tensor& images) const;

 private:
  // A convolution without a bias, the batch norm behind it folded in, and ReLU.
  struct Conv {
    Tensor weight, bias;
    int64_t stride;
    std::array<int64_t, 2> padding;
  };
  struct Layer;
  void read(const weights::TensorFile& file, const std::string& block, std::initializer_list<Layer> layers);

  // x: [B, C, h, w]; a block's branches are joined over the channels.
  Tensor run(const std::string& block, std::initializer_list<const char*> layers, Tensor x) const;
  Tensor block_a(const std::string& block, const Tensor& x) const;
  Tensor block_b(const std::string& block, const Tensor& x) const;  // halves h and w
  Tensor block_c(const std::string& block, const Tensor& x) const;
  Tensor block_d(const std::string& block, const Tensor& x) const;  // halves h and w
  Tensor block_e(const std::string& block, const Tensor& x, bool max_pool) const;

  std::map<std::string, Conv> convs_;
};

}  // namespace resflow::rewards
