#include "resflow/autoencoders/autoencoder_kl.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "resflow/core/config_file.h"

namespace resflow::autoencoders {

void AutoencoderKLConfig::check(const std::string& where) const {
  const auto& widths = block_out_channels;
  constexpr int64_t kWidest = 65536;
  const bool fits =
      std::all_of(widths.begin(), widths.end(), [&](int64_t width) { return width > 0 && width <= kWidest && width % norm_num_groups == 0; });
  if (widths.empty() || widths.size() > 16 || !fits)
    throw_user_error({.where = where,
                      .problem = "block_out_channels does not fit norm_num_groups",
                      .wanted = fmt::format("1 to 16 multiples of {}, at most {}", norm_num_groups, kWidest),
                      .got = fmt::format("[{}]", fmt::join(widths, ", "))});
  if (down_block_types.size() != widths.size() || up_block_types.size() != widths.size())
    throw_user_error({.where = where,
                      .problem = "block_out_channels, down_block_types and up_block_types differ in number",
                      .got = fmt::format("{}, {} and {}", widths.size(), down_block_types.size(), up_block_types.size())});
  if (!latents_mean.empty() || !latents_std.empty())
    throw_user_error({.where = where, .problem = "latents_mean and latents_std are not known", .wanted = "scaling_factor and shift_factor alone"});
}

KLEncoder::KLEncoder(nn::Module& parent, const std::string& name, const AutoencoderKLConfig& config)
    : Module(parent, name),
      conv_in_(*this, "conv_in", config.in_channels, config.block_out_channels.front(), 3),
      mid_block_(*this, "mid_block", config.block_out_channels.back(), config.norm_num_groups, config.mid_block_add_attention),
      conv_norm_out_(*this, "conv_norm_out", config.norm_num_groups, config.block_out_channels.back()),
      conv_out_(*this, "conv_out", config.block_out_channels.back(), 2 * config.latent_channels, 3) {
  const auto& widths = config.block_out_channels;
  for (size_t i = 0; i < widths.size(); ++i)
    down_blocks_.push_back(std::make_unique<ResizingBlock>(*this, fmt::format("down_blocks.{}", i), widths[i > 0 ? i - 1 : 0], widths[i],
                                                           config.layers_per_block, config.norm_num_groups,
                                                           i + 1 < widths.size() ? Resize::halve : Resize::none));
}

Tensor KLEncoder::forward(const Tensor& image) const {
  Tensor h = conv_in_.forward(image);
  for (const auto& block : down_blocks_) h = block->forward(h);
  return conv_out_.forward(at::silu(conv_norm_out_.forward(mid_block_.forward(h))));
}

KLDecoder::KLDecoder(nn::Module& parent, const std::string& name, const AutoencoderKLConfig& config)
    : Module(parent, name),
      conv_in_(*this, "conv_in", config.latent_channels, config.block_out_channels.back(), 3),
      mid_block_(*this, "mid_block", config.block_out_channels.back(), config.norm_num_groups, config.mid_block_add_attention),
      conv_norm_out_(*this, "conv_norm_out", config.norm_num_groups, config.block_out_channels.front()),
      conv_out_(*this, "conv_out", config.block_out_channels.front(), config.out_channels, 3) {
  const std::vector<int64_t> widths(config.block_out_channels.rbegin(), config.block_out_channels.rend());
  for (size_t i = 0; i < widths.size(); ++i)
    up_blocks_.push_back(std::make_unique<ResizingBlock>(*this, fmt::format("up_blocks.{}", i), widths[i > 0 ? i - 1 : 0], widths[i],
                                                         config.layers_per_block + 1, config.norm_num_groups,
                                                         i + 1 < widths.size() ? Resize::twice : Resize::none));
}

Tensor KLDecoder::forward(const Tensor& latent) const {
  Tensor h = mid_block_.forward(conv_in_.forward(latent));
  for (const auto& block : up_blocks_) h = block->forward(h);
  return conv_out_.forward(at::silu(conv_norm_out_.forward(h)));
}

AutoencoderKL::AutoencoderKL(const AutoencoderKLConfig& config)
    : config_(config), encoder_(*this, "encoder", config), decoder_(*this, "decoder", config) {
  const int64_t channels = config.latent_channels;
  if (config.use_quant_conv) quant_conv_.emplace(*this, "quant_conv", 2 * channels, 2 * channels, 1);
  if (config.use_post_quant_conv) post_quant_conv_.emplace(*this, "post_quant_conv", channels, channels, 1);
}

Tensor AutoencoderKL::encode_raw(const Tensor& image) const {
  const Tensor moments = encoder_.forward(as_weights(image * 2 - 1));
  return (quant_conv_ ? quant_conv_->forward(moments) : moments).narrow(1, 0, config_.latent_channels);  // the mean
}

Tensor AutoencoderKL::decode_raw(const Tensor& latent) const {
  const Tensor z = as_weights(latent);
  return decoder_.forward(post_quant_conv_ ? post_quant_conv_->forward(z) : z).to(at::kFloat) / 2 + 0.5;
}

std::unique_ptr<Autoencoder> make_autoencoder_kl(const Json& json, const std::string& where) {
  AutoencoderKLConfig config;
  config_from_json(config, json, where);
  config.check(where);
  return std::make_unique<AutoencoderKL>(config);
}

}  // namespace resflow::autoencoders
