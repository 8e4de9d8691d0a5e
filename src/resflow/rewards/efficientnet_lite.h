// EfficientNet-Lite (Tan & Le, arXiv 1905.11946; the Lite variants: no squeeze-excitation, ReLU6, fixed stem and head): the feature
// trunk without its classification head, batch norms folded into the convolutions.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::rewards {

// One inverted bottleneck: 1x1 expansion, depthwise convolution, 1x1 projection, shortcut where the shapes agree.
struct LiteBlock {
  int64_t in = 0, out = 0, kernel = 3, stride = 1, expansion = 6;
  int stage = 0;  // 1..7; the blocks of a stage have one output width
  bool has_shortcut() const { return stride == 1 && in == out; }
};

struct LiteArchitecture {
  std::string variant;     // lite0 ... lite4
  int64_t resolution = 0;  // of the classification training; fixes the padding of the strided convolutions
  std::vector<LiteBlock> blocks;
};

// Throws UserError for an unknown variant.
LiteArchitecture lite_architecture(std::string_view variant);
// The last block of stages 1, 2, 3, 4, 5 and 7: (0, 2, 4, 7, 10, 15) of lite0, (0, 3, 6, 10, 14, 20) of lite1 and lite2.
std::vector<int64_t> default_taps(const LiteArchitecture& architecture);

// A convolution with the batch norm that followed it folded in.
struct FoldedConv {
  Tensor weight, bias;  // [out, in / groups, k, k], [out]
  int64_t stride = 1, groups = 1;
  // left, right (= top, bottom): TensorFlow's SAME padding for the size the trunk was trained at. It does not follow the size of
  // the picture: that is what the published PyTorch weights are run with.
  std::array<int64_t, 2> padding = {0, 0};
  Tensor operator()(const Tensor& x) const;
};

class EfficientNetLite {
 public:
  // `get` gives the tensors `stem.{weight,bias}` and `blocks.N.{expand,depthwise,project}.{weight,bias}`; their number type is the
  // one that features() works in. Throws UserError where one has another shape, and what `get` throws.
  EfficientNetLite(LiteArchitecture architecture, const std::function<Tensor(const std::string&)>& get);

  // Outputs of the blocks in `taps` (ascending). images: [B, 3, H, W], 0..1. Differentiable with respect to them.
  std::vector<Tensor> features(const Tensor& images, const std::vector<int64_t>& taps) const;

  const LiteArchitecture& architecture() const { return architecture_; }
  void to(c10::Device device);

 private:
  struct Block {
    FoldedConv expand, depthwise, project;  // expand.weight is undefined where expansion is 1
  };
  LiteArchitecture architecture_;
  FoldedConv stem_;
  std::vector<Block> blocks_;
};

}  // namespace resflow::rewards
