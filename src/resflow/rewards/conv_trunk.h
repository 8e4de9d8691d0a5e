// The convolutions of AlexNet (Krizhevsky 2014, arXiv 1404.5997) and VGG16 (Simonyan and Zisserman 2015, arXiv 1409.1556) under
// torchvision's numbers, and the five maps that LPIPS and DISTS compare.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "resflow/core/tensor.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::rewards {

class ConvTrunk {
 public:
  // Torchvision's state dict ("features.0.weight"), or the same layers as the lpips package ("net.slice1.0.weight") or DISTS
  // ("stage1.0.weight") name them. What else the file holds, such as the classifier, is not read. float32 on the CPU. Throws UserError.
  static ConvTrunk alexnet(const weights::TensorFile& file);
  static ConvTrunk vgg16(const weights::TensorFile& file);
  // Does the file hold such layers at all?
  static bool in(const weights::TensorFile& file);

  using Pool = std::function<Tensor(const Tensor&)>;
  // Maps behind the ReLU of AlexNet's five convolutions, or of the last in each of VGG16's five stages. `pool` stands for the max pools
  // where it is given. x: [B, 3, H, W], normalised, smallest() pixels a side or more -> five of [B, C, h, w]
  std::vector<Tensor> features(const Tensor& x, const Pool& pool = {}) const;

  const std::vector<int64_t>& widths() const { return widths_; }  // C of each map
  int64_t smallest() const { return smallest_; }

 private:
  struct Layer {
    Tensor weight, bias;
    int64_t stride, padding;
    bool pooled, compared;  // a pool before; a map that is compared after
  };
  struct Plan;
  ConvTrunk(const weights::TensorFile& file, const Plan& plan);

  std::vector<Layer> layers_;
  std::vector<int64_t> widths_;
  int64_t pool_size_, smallest_;  // of a max pool with stride 2; pixels
};

}  // namespace resflow::rewards
