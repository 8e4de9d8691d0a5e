#include "resflow/models/swinir/swin_ir.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

namespace resflow::models {
namespace {

constexpr std::array<double, 3> kMean = {0.4488, 0.4371, 0.4040};  // DIV2K's, taken off the picture
constexpr int64_t kWindowOfJpeg = 7;                               // the networks for JPEG alone have such windows, and pixels of 0..255
constexpr double kSlope = 0.2, kSlopeBefore = 0.01;                // of the leaky ReLUs; the one before enlarging has PyTorch's default

Tensor activated(Tensor x, double slope = kSlope) { return at::leaky_relu_(x, slope); }

// One convolution, or three of which the middle one is narrow and looks at one pixel.
std::vector<std::unique_ptr<nn::Conv2d>> closing_convolutions(nn::Module& parent, const std::string& name, const SwinIrConfig& config) {
  std::vector<std::unique_ptr<nn::Conv2d>> convs;
  const auto add = [&](const std::string& suffix, int64_t in, int64_t out, int64_t kernel) {
    convs.push_back(std::make_unique<nn::Conv2d>(parent, name + suffix, in, out, kernel));
  };
  if (!config.three_convolutions) {
    add("", config.width, config.width, 3);
  } else {
    const int64_t narrow = config.width / 4;
    add(".0", config.width, narrow, 3);
    add(".2", narrow, narrow, 1);
    add(".4", narrow, config.width, 3);
  }
  return convs;
}

Tensor through(const std::vector<std::unique_ptr<nn::Conv2d>>& convs, const Tensor& x) {
  Tensor h = convs.front()->forward(x);
  for (size_t i = 1; i < convs.size(); ++i) h = convs[i]->forward(activated(h));
  return h;
}

Tensor to_map(const Tensor& features) { return features.permute({0, 2, 3, 1}); }    // [B, C, h, w] -> [B, h, w, C]
Tensor from_map(const Tensor& features) { return features.permute({0, 3, 1, 2}); }  // [B, h, w, C] -> [B, C, h, w]

// Convolutions of the enlargement: how often, and by how much each shuffles.
std::pair<int64_t, int64_t> shuffles(int64_t upscale) {
  if (upscale % 3 == 0) return {1, 3};
  int64_t count = 0;
  while ((int64_t{1} << count) < upscale) ++count;
  return {count, 2};
}

}  // namespace

SwinGroup::SwinGroup(Module& parent, const std::string& name, const SwinIrConfig& config, int64_t depth, int64_t heads) : Module(parent, name) {
  for (int64_t i = 0; i < depth; ++i)
    blocks_.push_back(std::make_unique<SwinBlock>(
        *this, fmt::format("residual_group.blocks.{}", i),
        SwinBlockConfig{
            .width = config.width, .heads = heads, .hidden = config.hidden, .window = config.window, .shift = i % 2 == 0 ? 0 : config.window / 2}));
  convs_ = closing_convolutions(*this, "conv", config);
}

Tensor SwinGroup::forward(const Tensor& map, const Tensor& mask) const {
  Tensor x = map;
  for (const auto& block : blocks_) x = block->forward(x, mask);
  return map + to_map(through(convs_, from_map(x)));
}

SwinIr::SwinIr(const SwinIrConfig& config)
    : config_(config),
      range_(config.window == kWindowOfJpeg ? 255 : 1),
      conv_first_(*this, config.first_name, 3 * config.unshuffle * config.unshuffle, config.width, 3),
      norm_(*this, "norm", config.width) {
  if (config.embedding_norm) embedding_norm_ = std::make_unique<nn::LayerNorm>(*this, "patch_embed.norm", config.width);
  for (size_t i = 0; i < config.depths.size(); ++i)
    layers_.push_back(std::make_unique<SwinGroup>(*this, fmt::format("layers.{}", i), config, config.depths[i], config.heads[i]));
  after_body_ = closing_convolutions(*this, "conv_after_body", config);
  const auto conv = [&](const std::string& name, int64_t in, int64_t out) { return std::make_unique<nn::Conv2d>(*this, name, in, out, 3); };
  const int64_t wide = config.features;
  switch (config.end) {
    case SwinIrEnd::pixel_shuffle: {
      before_upsample_ = conv("conv_before_upsample.0", config.width, wide);
      const auto [count, by] = shuffles(config.upscale);
      for (int64_t i = 0; i < count; ++i) up_.push_back(conv(fmt::format("upsample.{}", 2 * i), wide, by * by * wide));
      conv_last_ = conv("conv_last", wide, 3);
      break;
    }
    case SwinIrEnd::pixel_shuffle_direct:
      up_.push_back(conv("upsample.0", config.width, 3 * config.upscale * config.upscale));
      break;
    case SwinIrEnd::nearest_conv:
      before_upsample_ = conv("conv_before_upsample.0", config.width, wide);
      for (int64_t i = 1; (int64_t{1} << i) <= config.upscale; ++i) up_.push_back(conv(fmt::format("conv_up{}", i), wide, wide));
      conv_hr_ = conv("conv_hr", wide, wide);
      conv_last_ = conv("conv_last", wide, 3);
      break;
    case SwinIrEnd::residual:
      conv_last_ = conv("conv_last", config.width, 3);
      break;
  }
}

std::string SwinIr::architecture() const {
  int64_t blocks = 0;
  for (const auto depth : config_.depths) blocks += depth;
  return fmt::format("SwinIR, {} groups of {} blocks in all, width {}, windows of {}{}, x{}", config_.depths.size(), blocks, config_.width,
                     config_.window, config_.unshuffle > 1 ? fmt::format(", picture folded by {}", config_.unshuffle) : "", scale());
}

Tensor SwinIr::features(const Tensor& x) const {
  Tensor map = to_map(x);
  const Tensor mask = shift_mask(map.size(1), map.size(2), config_.window, config_.window / 2).to(map.device());
  if (embedding_norm_) map = embedding_norm_->forward(map);
  for (const auto& layer : layers_) map = layer->forward(map, mask);
  return through(after_body_, from_map(norm_.forward(map))) + x;
}

Tensor SwinIr::enlarged(const Tensor& x) const {
  if (config_.end == SwinIrEnd::pixel_shuffle_direct) return at::pixel_shuffle(up_[0]->forward(x), config_.upscale);
  Tensor h = activated(before_upsample_->forward(x), kSlopeBefore);
  if (config_.end == SwinIrEnd::pixel_shuffle) {
    for (const auto& conv : up_) h = at::pixel_shuffle(conv->forward(h), shuffles(config_.upscale).second);
    return conv_last_->forward(h);
  }
  for (const auto& conv : up_) h = activated(conv->forward(at::upsample_nearest2d(h, {2 * h.size(2), 2 * h.size(3)})));
  return conv_last_->forward(activated(conv_hr_->forward(h)));
}

Tensor SwinIr::forward(const Tensor& image) const {
  const Tensor mean = at::tensor(at::ArrayRef<double>(kMean), at::kFloat).view({1, 3, 1, 1}).to(image.device());
  const Tensor centred = (image.to(at::kFloat) - mean) * range_;
  Tensor x = centred.to(conv_first_.weight.scalar_type());
  if (config_.unshuffle > 1) x = at::pixel_unshuffle(x, config_.unshuffle);  // [B, 3 u^2, H / u, W / u]
  x = features(conv_first_.forward(x.contiguous(at::MemoryFormat::ChannelsLast)));
  const Tensor made = config_.end == SwinIrEnd::residual ? centred + conv_last_->forward(x).to(at::kFloat) : enlarged(x).to(at::kFloat);
  return made / range_ + mean;
}

}  // namespace resflow::models
