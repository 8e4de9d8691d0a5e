#include "resflow/models/fusion/control_net.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/models/tokens.h"

namespace resflow::models {
namespace {

constexpr int64_t kHintChannels = 16;

}  // namespace

ControlHint::ControlHint(Module& parent, const std::string& name, int64_t out)
    : Module(parent, name), conv_in_(*this, "conv_in", 3, kHintChannels, 3), conv_out_(*this, "conv_out", kHintChannels, out, 3, 0) {
  for (int64_t i = 0; i < 6; ++i)
    blocks_.push_back(std::make_unique<nn::Conv2d>(*this, fmt::format("blocks.{}", i), kHintChannels, kHintChannels, 3,
                                                   nn::Conv2d::Options{.stride = i % 2 + 1, .padding = 1}));
}

Tensor ControlHint::forward(const Tensor& picture) const {
  Tensor x = at::silu(conv_in_.forward(picture));
  for (const auto& block : blocks_) x = at::silu(block->forward(x));
  return conv_out_.forward(x);  // [B, out, H / 8, W / 8]
}

FluxControlNet::FluxControlNet(const FluxControlConfig& config)
    : config_(config),
      trunk_(*this, config.trunk),
      controlnet_x_embedder_(*this, "controlnet_x_embedder", config.trunk.in_channels, config.trunk.width(), {.zero_init = true}) {
  const int64_t width = config.trunk.width();
  if (config.conditioning_embedding_channels > 0) input_hint_block_.emplace(*this, "input_hint_block", config.conditioning_embedding_channels);
  if (config.num_mode > 0) controlnet_mode_embedder_.emplace(*this, "controlnet_mode_embedder", config.num_mode, width);
  const auto add = [&](auto& list, const char* name, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      list.push_back(std::make_unique<nn::Linear>(*this, fmt::format("{}.{}", name, i), width, width, nn::Linear::Options{.zero_init = true}));
  };
  add(controlnet_blocks_, "controlnet_blocks", config.trunk.num_layers);
  add(controlnet_single_blocks_, "controlnet_single_blocks", config.trunk.num_single_layers);
}

void FluxControlNet::stream_blocks(c10::Device device) {
  trunk_.stream_blocks(device);
  if (!device.is_cpu()) move_beside_blocks(*this, device);
}

FluxResiduals FluxControlNet::forward(const FluxInput& input, const Tensor& control, double scale, const Tensor& mode) const {
  TORCH_CHECK(mode.defined() == controlnet_mode_embedder_.has_value(),
              controlnet_mode_embedder_ ? "ControlNet: this one is told the kind of control" : "ControlNet: this one knows one kind of control");
  Tensor hint = control.to(trunk_.dtype());
  FluxResiduals out;
  if (input_hint_block_) {
    check_shape(hint, "B 3 H W", "control picture");
    hint = patchify(input_hint_block_->forward(hint), config_.trunk.patch_size);
    out.repeat = true;
  }
  check_shape(hint, fmt::format("B {} {}", input.hidden_states.size(1), config_.trunk.in_channels), "control");

  FluxInput own = input;
  own.addition = controlnet_x_embedder_.forward(hint);  // [B, L, D]
  own.condition = {};
  own.residuals = {};
  const Tensor prefix = mode.defined() ? controlnet_mode_embedder_->forward(mode).unsqueeze(1) : Tensor();  // [B, 1, D]
  Tensor temb;
  trunk_.forward(
      own,
      [&](FluxTrunk::Kind kind, size_t index, const Tensor& image) {
        const bool is_double = kind == FluxTrunk::Kind::double_stream;
        auto& samples = is_double ? out.double_blocks : out.single_blocks;
        samples.push_back((is_double ? controlnet_blocks_ : controlnet_single_blocks_).at(index)->forward(image) * scale);
        return image;
      },
      temb, prefix);
  return out;
}

}  // namespace resflow::models
