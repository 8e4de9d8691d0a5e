#include "resflow/autoencoders/kl_blocks.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/nn/attention.h"

namespace resflow::autoencoders {

ResnetBlock::ResnetBlock(nn::Module& parent, const std::string& name, int64_t in, int64_t out, int64_t groups)
    : Module(parent, name),
      norm1_(*this, "norm1", groups, in),
      conv1_(*this, "conv1", in, out, 3),
      norm2_(*this, "norm2", groups, out),
      conv2_(*this, "conv2", out, out, 3) {
  if (in != out) conv_shortcut_.emplace(*this, "conv_shortcut", in, out, 1);
}

Tensor ResnetBlock::forward(const Tensor& x) const {
  const Tensor h = conv2_.forward(at::silu(norm2_.forward(conv1_.forward(at::silu(norm1_.forward(x))))));
  return (conv_shortcut_ ? conv_shortcut_->forward(x) : x) + h;
}

MapAttention::MapAttention(nn::Module& parent, const std::string& name, int64_t channels, int64_t groups)
    : Module(parent, name),
      group_norm_(*this, "group_norm", groups, channels),
      to_q_(*this, "to_q", channels, channels),
      to_k_(*this, "to_k", channels, channels),
      to_v_(*this, "to_v", channels, channels),
      to_out_(*this, "to_out.0", channels, channels) {}

Tensor MapAttention::forward(const Tensor& x) const {
  const Tensor h = group_norm_.forward(x).permute({0, 2, 3, 1}).flatten(1, 2);                         // [B, H W, C]
  const auto head = [&](const nn::Linear& projection) { return projection.forward(h).unsqueeze(1); };  // [B, 1, H W, C]
  const Tensor seen = to_out_.forward(nn::attention(head(to_q_), head(to_k_), head(to_v_)).squeeze(1));
  return x + seen.unflatten(1, {x.size(2), x.size(3)}).permute({0, 3, 1, 2});  // [B, C, H, W]
}

MidBlock::MidBlock(nn::Module& parent, const std::string& name, int64_t channels, int64_t groups, bool attention)
    : Module(parent, name), first_(*this, "resnets.0", channels, channels, groups), second_(*this, "resnets.1", channels, channels, groups) {
  if (attention) attention_.emplace(*this, "attentions.0", channels, groups);
}

Tensor MidBlock::forward(const Tensor& x) const {
  const Tensor h = first_.forward(x);
  return second_.forward(attention_ ? attention_->forward(h) : h);
}

ResizingBlock::ResizingBlock(nn::Module& parent, const std::string& name, int64_t in, int64_t out, int64_t count, int64_t groups, Resize resize)
    : Module(parent, name), resize_(resize) {
  for (int64_t i = 0; i < count; ++i)
    resnets_.push_back(std::make_unique<ResnetBlock>(*this, fmt::format("resnets.{}", i), i == 0 ? in : out, out, groups));
  if (resize == Resize::halve) conv_.emplace(*this, "downsamplers.0.conv", out, out, 3, nn::Conv2d::Options{.stride = 2, .padding = 0});
  if (resize == Resize::twice) conv_.emplace(*this, "upsamplers.0.conv", out, out, 3);
}

Tensor ResizingBlock::forward(const Tensor& x) const {
  Tensor h = x;
  for (const auto& resnet : resnets_) h = resnet->forward(h);
  if (resize_ == Resize::halve) return conv_->forward(at::constant_pad_nd(h, {0, 1, 0, 1}));  // right and below only
  if (resize_ == Resize::twice) return conv_->forward(at::upsample_nearest2d(h, {2 * h.size(2), 2 * h.size(3)}));
  return h;
}

}  // namespace resflow::autoencoders
