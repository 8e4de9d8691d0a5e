// What AutoencoderKL is made of (diffusers: ResnetBlock2D, Attention, UNetMidBlock2D, DownEncoderBlock2D, UpDecoderBlock2D), without time.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "resflow/nn/conv.h"
#include "resflow/nn/group_norm.h"
#include "resflow/nn/linear.h"

namespace resflow::autoencoders {

class ResnetBlock : public nn::Module {
 public:
  ResnetBlock(nn::Module& parent, const std::string& name, int64_t in, int64_t out, int64_t groups);
  Tensor forward(const Tensor& x) const;  // [B, in, H, W] -> [B, out, H, W]

 private:
  nn::GroupNorm norm1_;
  nn::Conv2d conv1_;
  nn::GroupNorm norm2_;
  nn::Conv2d conv2_;
  std::optional<nn::Conv2d> conv_shortcut_;  // where in and out differ
};

// Every place of the map attends to every other, with one head.
class MapAttention : public nn::Module {
 public:
  MapAttention(nn::Module& parent, const std::string& name, int64_t channels, int64_t groups);
  Tensor forward(const Tensor& x) const;  // [B, C, H, W] -> the same

 private:
  nn::GroupNorm group_norm_;
  nn::Linear to_q_, to_k_, to_v_, to_out_;
};

class MidBlock : public nn::Module {
 public:
  MidBlock(nn::Module& parent, const std::string& name, int64_t channels, int64_t groups, bool attention);
  Tensor forward(const Tensor& x) const;  // [B, C, H, W] -> the same

 private:
  ResnetBlock first_;
  std::optional<MapAttention> attention_;
  ResnetBlock second_;
};

// Residual blocks, then half or twice the size, or neither.
enum class Resize { none, halve, twice };

class ResizingBlock : public nn::Module {
 public:
  ResizingBlock(nn::Module& parent, const std::string& name, int64_t in, int64_t out, int64_t count, int64_t groups, Resize resize);
  Tensor forward(const Tensor& x) const;  // [B, in, H, W] -> [B, out, H', W']

 private:
  Resize resize_;
  std::vector<std::unique_ptr<ResnetBlock>> resnets_;
  std::optional<nn::Conv2d> conv_;  // named downsamplers.0.conv or upsamplers.0.conv
};

}  // namespace resflow::autoencoders
