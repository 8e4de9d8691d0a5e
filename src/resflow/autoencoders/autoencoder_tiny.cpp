#include "resflow/autoencoders/autoencoder_tiny.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "resflow/core/config_file.h"

namespace resflow::autoencoders {
namespace {

constexpr int64_t kMaxStages = 16, kMaxBlocks = 64, kWidest = 65536;

void check_stages(const std::string& where, const std::string& part, const std::vector<int64_t>& widths, const std::vector<int64_t>& blocks) {
  const bool same =
      std::all_of(widths.begin(), widths.end(), [&](int64_t width) { return width > 0 && width <= kWidest && width == widths.front(); });
  const bool counts = std::all_of(blocks.begin(), blocks.end(), [](int64_t count) { return count >= 0 && count <= kMaxBlocks; });
  if (widths.empty() || widths.size() > kMaxStages || widths.size() != blocks.size() || !same || !counts)
    throw_user_error({.where = where,
                      .problem = fmt::format("the {}'s stages do not fit each other", part),
                      .wanted = "one width, and a number of blocks for each stage",
                      .got = fmt::format("widths [{}], blocks [{}]", fmt::join(widths, ", "), fmt::join(blocks, ", "))});
}

// Numbers the parts of diffusers' one Sequential, those without weights too.
std::string next(int64_t& place) { return fmt::format("layers.{}", place++); }

void add_blocks(nn::Module& parent, TinyStage& stage, int64_t count, int64_t channels, int64_t& place) {
  for (int64_t i = 0; i < count; ++i) stage.blocks.push_back(std::make_unique<TinyBlock>(parent, next(place), channels));
}

}  // namespace

void AutoencoderTinyConfig::check(const std::string& where) const {
  check_stages(where, "encoder", encoder_block_out_channels, num_encoder_blocks);
  check_stages(where, "decoder", decoder_block_out_channels, num_decoder_blocks);
}

TinyBlock::TinyBlock(nn::Module& parent, const std::string& name, int64_t channels)
    : Module(parent, name),
      first_(*this, "conv.0", channels, channels, 3),
      second_(*this, "conv.2", channels, channels, 3),
      third_(*this, "conv.4", channels, channels, 3) {}

Tensor TinyBlock::forward(const Tensor& x) const { return at::relu(third_.forward(at::relu(second_.forward(at::relu(first_.forward(x))))) + x); }

TinyEncoder::TinyEncoder(nn::Module& parent, const std::string& name, const AutoencoderTinyConfig& config) : Module(parent, name) {
  const int64_t channels = config.encoder_block_out_channels.front();
  int64_t place = 0;
  for (const int64_t count : config.num_encoder_blocks) {
    auto& stage = stages_.emplace_back();
    stage.conv = place == 0
                     ? std::make_unique<nn::Conv2d>(*this, next(place), config.in_channels, channels, 3)
                     : std::make_unique<nn::Conv2d>(*this, next(place), channels, channels, 3, nn::Conv2d::Options{.stride = 2, .bias = false});
    add_blocks(*this, stage, count, channels, place);
  }
  conv_out_ = std::make_unique<nn::Conv2d>(*this, next(place), channels, config.latent_channels, 3);
}

Tensor TinyEncoder::forward(const Tensor& image) const {
  Tensor h = image;
  for (const auto& stage : stages_) {
    h = stage.conv->forward(h);
    for (const auto& block : stage.blocks) h = block->forward(h);
  }
  return conv_out_->forward(h);
}

TinyDecoder::TinyDecoder(nn::Module& parent, const std::string& name, const AutoencoderTinyConfig& config)
    : Module(parent, name), conv_in_(*this, "layers.0", config.latent_channels, config.decoder_block_out_channels.front(), 3) {
  const int64_t channels = config.decoder_block_out_channels.front();
  int64_t place = 2;  // after the first convolution and its ReLU
  for (size_t i = 0; i < config.num_decoder_blocks.size(); ++i) {
    const bool last = i + 1 == config.num_decoder_blocks.size();
    auto& stage = stages_.emplace_back();
    add_blocks(*this, stage, config.num_decoder_blocks[i], channels, place);
    if (!last) ++place;  // the enlargement
    stage.conv =
        std::make_unique<nn::Conv2d>(*this, next(place), channels, last ? config.out_channels : channels, 3, nn::Conv2d::Options{.bias = last});
  }
}

Tensor TinyDecoder::forward(const Tensor& latent) const {
  Tensor h = at::relu(conv_in_.forward(at::tanh(latent / 3) * 3));  // outliers are bent back into -3..3
  for (const auto& stage : stages_) {
    for (const auto& block : stage.blocks) h = block->forward(h);
    if (&stage != &stages_.back()) h = at::upsample_nearest2d(h, {2 * h.size(2), 2 * h.size(3)});
    h = stage.conv->forward(h);
  }
  return h;
}

std::unique_ptr<Autoencoder> make_autoencoder_tiny(const Json& json, const std::string& where) {
  AutoencoderTinyConfig config;
  config_from_json(config, json, where);
  config.check(where);
  return std::make_unique<AutoencoderTiny>(config);
}

}  // namespace resflow::autoencoders
