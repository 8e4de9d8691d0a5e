#include "resflow/models/compact/remover.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace resflow::models {
namespace {
// He's gain for a leaky ReLU of slope 0.1.
constexpr double kReluGain = 1.4;
// The change is of the order of 0.05: a unit output would make the first steps of training far too large.
constexpr double kChangeScale = 0.1;
}  // namespace

ResidualBlock::ResidualBlock(Module& parent, const std::string& name, int64_t channels, int64_t embedding, double gain)
    : Module(parent, name), conv1(*this, "conv1", channels, channels, 3), conv2(*this, "conv2", channels, channels, 3, gain * kReluGain) {
  if (embedding > 0) film = std::make_unique<nn::Linear>(*this, "film", embedding, 2 * channels, nn::Linear::Options{.zero_init = true});
}

Tensor ResidualBlock::forward(const Tensor& x, const Tensor& embedding) const {
  Tensor h = conv1.forward(x);  // [B, C, h, w]
  if (film != nullptr) {
    const auto modulation = film->forward(embedding).unsqueeze(-1).unsqueeze(-1).chunk(2, 1);  // 2 x [B, C, 1, 1]
    h = at::addcmul(modulation[1], h, 1 + modulation[0]);
  }
  return x + conv2.forward(at::leaky_relu(h, 0.1));
}

CompactRemover::CompactRemover(const CompactConfig& config)
    : conv_in_(*this, "conv_in", 3 * kUnshuffle * kUnshuffle, config.channels, 3),
      conv_out_(*this, "conv_out", config.channels, 3 * kUnshuffle * kUnshuffle, 3, 0) {
  // However many they are, together they add about as much as six.
  const double gain = 0.3 * std::min(1.0, std::sqrt(6.0 / static_cast<double>(config.remover_blocks)));
  for (int64_t i = 0; i < config.remover_blocks; ++i)
    blocks_.push_back(std::make_unique<ResidualBlock>(*this, "blocks." + std::to_string(i), config.channels, 0, gain));
}

CompactRemover::Output CompactRemover::forward(const Tensor& image) const {
  Tensor h = conv_in_.forward(at::pixel_unshuffle(image - 0.5, kUnshuffle).contiguous(at::MemoryFormat::ChannelsLast));  // [B, C, h, w]
  for (const auto& block : blocks_) h = block->forward(h);
  const Tensor change = kChangeScale * at::pixel_shuffle(conv_out_.forward(h), kUnshuffle);  // [B, 3, H, W]
  return {image + change, h};
}

}  // namespace resflow::models
