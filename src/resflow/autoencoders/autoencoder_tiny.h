// The tiny autoencoder for previews (TAESD, and TAEF1 for FLUX, by Ollin Boer Bohan; diffusers: AutoencoderTiny).
#pragma once

#include <vector>

#include "resflow/autoencoders/autoencoder.h"
#include "resflow/core/fields.h"
#include "resflow/nn/conv.h"

namespace resflow::autoencoders {

// diffusers' config.json; defaults are AutoencoderTiny's own.
struct AutoencoderTinyConfig {
  int64_t in_channels = 3, out_channels = 3;
  std::vector<int64_t> encoder_block_out_channels = {64, 64, 64, 64}, decoder_block_out_channels = {64, 64, 64, 64};
  std::vector<int64_t> num_encoder_blocks = {1, 3, 3, 3}, num_decoder_blocks = {3, 3, 3, 1};
  std::string act_fn = "relu", upsample_fn = "nearest";
  int64_t latent_channels = 4;
  int64_t upsampling_scaling_factor = 2;
  double scaling_factor = 1, shift_factor = 0;

  // Throws UserError where sizes contradict each other.
  void check(const std::string& where) const;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("in_channels", o.in_channels, "Channels of the image", Range{3, 3});
    visit("out_channels", o.out_channels, "Channels of the decoded image", Range{3, 3});
    visit("encoder_block_out_channels", o.encoder_block_out_channels, "Width of the encoder's stages, all the same");
    visit("decoder_block_out_channels", o.decoder_block_out_channels, "Width of the decoder's stages, all the same");
    visit("num_encoder_blocks", o.num_encoder_blocks, "Blocks of each of the encoder's stages");
    visit("num_decoder_blocks", o.num_decoder_blocks, "Blocks of each of the decoder's stages");
    visit("act_fn", o.act_fn, "Activation", OneOf{{"relu"}});
    visit("upsample_fn", o.upsample_fn, "How a map is enlarged", OneOf{{"nearest"}});
    visit("latent_channels", o.latent_channels, "Channels of the latent", Range{1, 1024});
    visit("upsampling_scaling_factor", o.upsampling_scaling_factor, "How much a stage enlarges", Range{2, 2});
    visit("scaling_factor", o.scaling_factor, "What the flow's latent is multiplied by", Range{1e-6, 1e6});
    visit("shift_factor", o.shift_factor, "What is taken off before", Range{-1e6, 1e6});
  }
};

class TinyBlock : public nn::Module {
 public:
  TinyBlock(nn::Module& parent, const std::string& name, int64_t channels);
  Tensor forward(const Tensor& x) const;  // [B, C, H, W] -> the same

 private:
  nn::Conv2d first_, second_, third_;  // named conv.0, conv.2, conv.4
};

// Blocks between two sizes, with the convolution before them (encoder) or after them (decoder).
struct TinyStage {
  std::unique_ptr<nn::Conv2d> conv;
  std::vector<std::unique_ptr<TinyBlock>> blocks;
};

class TinyEncoder : public nn::Module {
 public:
  TinyEncoder(nn::Module& parent, const std::string& name, const AutoencoderTinyConfig& config);
  Tensor forward(const Tensor& image) const;  // [B, 3, H, W], 0..1 -> [B, C, h, w]

 private:
  std::vector<TinyStage> stages_;
  std::unique_ptr<nn::Conv2d> conv_out_;
};

class TinyDecoder : public nn::Module {
 public:
  TinyDecoder(nn::Module& parent, const std::string& name, const AutoencoderTinyConfig& config);
  Tensor forward(const Tensor& latent) const;  // [B, C, h, w] -> [B, 3, H, W], 0..1

 private:
  nn::Conv2d conv_in_;
  std::vector<TinyStage> stages_;
};

class AutoencoderTiny : public Autoencoder {
 public:
  explicit AutoencoderTiny(const AutoencoderTinyConfig& config)
      : config_(config), encoder_(*this, "encoder", config), decoder_(*this, "decoder", config) {}

  int64_t latent_channels() const override { return config_.latent_channels; }
  int64_t reduction() const override { return int64_t{1} << (config_.num_encoder_blocks.size() - 1); }

 private:
  Tensor encode_raw(const Tensor& image) const override { return encoder_.forward(as_weights(image)); }
  Tensor decode_raw(const Tensor& latent) const override { return decoder_.forward(as_weights(latent)); }
  double shift() const override { return config_.shift_factor; }
  double scale() const override { return config_.scaling_factor; }

  AutoencoderTinyConfig config_;
  TinyEncoder encoder_;
  TinyDecoder decoder_;
};

}  // namespace resflow::autoencoders
