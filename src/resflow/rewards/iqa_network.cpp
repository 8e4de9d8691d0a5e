#include "resflow/rewards/iqa_network.h"

#include <ATen/ATen.h>

#include <array>

namespace resflow::rewards {
namespace {
constexpr std::array<int64_t, 4> kWidths = {24, 48, 72, 96};
constexpr int64_t kBlocks = 2;     // a stage
constexpr int64_t kMultiple = 16;  // pixels that a cell of the last stage covers
constexpr double kReluGain = 1.4;  // He's gain for a leaky ReLU of slope 0.1
}  // namespace

class IqaBlock : public nn::Module {
 public:
  IqaBlock(Module& parent, const std::string& name, int64_t width)
      : Module(parent, name), conv1_(*this, "conv1", width, width, 3, kReluGain), conv2_(*this, "conv2", width, width, 3, 0.3 * kReluGain) {}
  // [B, C, h, w] -> the same
  Tensor forward(const Tensor& x) const { return x + conv2_.forward(at::leaky_relu(conv1_.forward(x), 0.1)); }

 private:
  nn::Conv2d conv1_, conv2_;
};

IqaNetwork::IqaNetwork() : conv_in_(*this, "conv_in", 3 * 4, kWidths[0], 3), conv_out_(*this, "conv_out", kWidths.back(), 1, 1, 0.1) {
  for (size_t stage = 0; stage < kWidths.size(); ++stage) {
    if (stage > 0)
      down_.push_back(std::make_unique<nn::Conv2d>(*this, "down." + std::to_string(stage - 1), kWidths[stage - 1], kWidths[stage], 3,
                                                   nn::Conv2d::Options{.stride = 2, .padding = {}}));
    for (int64_t i = 0; i < kBlocks; ++i)
      blocks_.push_back(std::make_unique<IqaBlock>(*this, "blocks." + std::to_string(blocks_.size()), kWidths[stage]));
  }
}

IqaNetwork::~IqaNetwork() = default;

Tensor IqaNetwork::forward(const Tensor& images) const {
  check_shape(images, "B 3 H W", "images");
  const auto missing = [](int64_t length) { return (kMultiple - length % kMultiple) % kMultiple; };
  const Tensor padded = at::replication_pad2d(images, {0, missing(images.size(3)), 0, missing(images.size(2))});
  Tensor h = conv_in_.forward(at::pixel_unshuffle(padded - 0.5, 2).contiguous(at::MemoryFormat::ChannelsLast));  // [B, C, H/2, W/2]
  for (size_t stage = 0; stage < kWidths.size(); ++stage) {
    if (stage > 0) h = down_[stage - 1]->forward(at::leaky_relu(h, 0.1));
    for (int64_t i = 0; i < kBlocks; ++i) h = blocks_[stage * kBlocks + static_cast<size_t>(i)]->forward(h);
  }
  return conv_out_.forward(at::leaky_relu(h, 0.1)).to(at::kFloat).mean({1, 2, 3}) + 1;  // a flow's results lie near 1
}

}  // namespace resflow::rewards
