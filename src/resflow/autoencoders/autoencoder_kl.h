// The autoencoder of latent diffusion (Rombach et al. 2022; diffusers: AutoencoderKL), FLUX's and Stable Diffusion's.
#pragma once

#include "resflow/autoencoders/autoencoder.h"
#include "resflow/autoencoders/kl_blocks.h"
#include "resflow/core/fields.h"

namespace resflow::autoencoders {

// diffusers' vae/config.json; defaults are AutoencoderKL's own.
struct AutoencoderKLConfig {
  int64_t in_channels = 3, out_channels = 3;
  std::vector<std::string> down_block_types = {"DownEncoderBlock2D"}, up_block_types = {"UpDecoderBlock2D"};
  std::vector<int64_t> block_out_channels = {64};  // from the image inwards
  int64_t layers_per_block = 1;                    // the decoder has one more
  std::string act_fn = "silu";
  int64_t latent_channels = 4;
  int64_t norm_num_groups = 32;
  double scaling_factor = 0.18215, shift_factor = 0;
  std::vector<double> latents_mean, latents_std;  // by channel; no model of ours has them
  bool use_quant_conv = true, use_post_quant_conv = true;
  bool mid_block_add_attention = true;

  // Throws UserError where sizes contradict each other.
  void check(const std::string& where) const;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("in_channels", o.in_channels, "Channels of the image", Range{3, 3});
    visit("out_channels", o.out_channels, "Channels of the decoded image", Range{3, 3});
    visit("down_block_types", o.down_block_types, "The encoder's blocks", OneOf{{"DownEncoderBlock2D"}});
    visit("up_block_types", o.up_block_types, "The decoder's blocks", OneOf{{"UpDecoderBlock2D"}});
    visit("block_out_channels", o.block_out_channels, "Width of each block, from the image inwards");
    visit("layers_per_block", o.layers_per_block, "Residual blocks in each of the encoder's blocks", Range{1, 64});
    visit("act_fn", o.act_fn, "Activation", OneOf{{"silu", "swish"}});
    visit("latent_channels", o.latent_channels, "Channels of the latent", Range{1, 1024});
    visit("norm_num_groups", o.norm_num_groups, "Groups of the norms", Range{1, 1024});
    visit("scaling_factor", o.scaling_factor, "What the flow's latent is multiplied by", Range{1e-6, 1e6});
    visit("shift_factor", o.shift_factor, "What is taken off before", Range{-1e6, 1e6});
    visit("latents_mean", o.latents_mean, "The same, by channel");
    visit("latents_std", o.latents_std, "The same, by channel");
    visit("use_quant_conv", o.use_quant_conv, "A convolution after the encoder");
    visit("use_post_quant_conv", o.use_post_quant_conv, "A convolution before the decoder");
    visit("mid_block_add_attention", o.mid_block_add_attention, "Attention in the middle");
  }
};

class KLEncoder : public nn::Module {
 public:
  KLEncoder(nn::Module& parent, const std::string& name, const AutoencoderKLConfig& config);
  Tensor forward(const Tensor& image) const;  // [B, 3, H, W], -1..1 -> mean and log variance, [B, 2 C, h, w]

 private:
  nn::Conv2d conv_in_;
  std::vector<std::unique_ptr<ResizingBlock>> down_blocks_;
  MidBlock mid_block_;
  nn::GroupNorm conv_norm_out_;
  nn::Conv2d conv_out_;
};

class KLDecoder : public nn::Module {
 public:
  KLDecoder(nn::Module& parent, const std::string& name, const AutoencoderKLConfig& config);
  Tensor forward(const Tensor& latent) const;  // [B, C, h, w] -> [B, 3, H, W], -1..1

 private:
  nn::Conv2d conv_in_;
  MidBlock mid_block_;
  std::vector<std::unique_ptr<ResizingBlock>> up_blocks_;
  nn::GroupNorm conv_norm_out_;
  nn::Conv2d conv_out_;
};

class AutoencoderKL : public Autoencoder {
 public:
  explicit AutoencoderKL(const AutoencoderKLConfig& config);

  int64_t latent_channels() const override { return config_.latent_channels; }
  int64_t reduction() const override { return int64_t{1} << (config_.block_out_channels.size() - 1); }

 private:
  Tensor encode_raw(const Tensor& image) const override;
  Tensor decode_raw(const Tensor& latent) const override;
  double shift() const override { return config_.shift_factor; }
  double scale() const override { return config_.scaling_factor; }

  AutoencoderKLConfig config_;
  KLEncoder encoder_;
  KLDecoder decoder_;
  std::optional<nn::Conv2d> quant_conv_, post_quant_conv_;
};

}  // namespace resflow::autoencoders
