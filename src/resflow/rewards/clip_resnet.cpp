#include "resflow/rewards/clip_resnet.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/error.h"
#include "resflow/nn/attention.h"

namespace resflow::rewards {
namespace {

constexpr double kEps = 1e-5;
constexpr int64_t kHeadWidth = 64;

Tensor pooled(const Tensor& x, int64_t stride) { return stride == 1 ? x : at::avg_pool2d(x, {stride, stride}); }

}  // namespace

ConvNorm::ConvNorm(nn::Module& parent, const text::ClipFile& file, const std::string& prefix, const std::string& conv, const std::string& norm)
    : Module(parent, prefix) {
  const auto shape = file.get(prefix + "." + conv + ".weight").sizes().vec();
  if (shape.size() != 4 || shape[2] != shape[3] || (shape[2] != 1 && shape[2] != 3))
    throw_user_error({.where = file.path().string(), .problem = "'" + prefix + "." + conv + "' is no convolution of 1x1 or 3x3"});
  declare(conv + ".weight", kernel_, shape);
  declare(norm + ".weight", weight_, {shape[0]});
  declare(norm + ".bias", bias_, {shape[0]});
  declare(norm + ".running_mean", mean_, {shape[0]});
  declare(norm + ".running_var", variance_, {shape[0]});
}

Tensor ConvNorm::forward(const Tensor& x, int64_t stride) const {
  return at::batch_norm(at::conv2d(x, kernel_, {}, stride, kernel_.size(2) / 2), weight_, bias_, mean_, variance_, false, 0, kEps, false);
}

ClipResnet::ClipResnet(const text::ClipFile& file) {
  for (int i = 1; i <= 3; ++i) stem_.push_back(std::make_unique<ConvNorm>(*this, file, "visual", fmt::format("conv{}", i), fmt::format("bn{}", i)));
  for (int stage = 1; stage <= 4; ++stage) {
    const auto name = fmt::format("visual.layer{}.", stage);
    for (int64_t i = 0; i < file.count(name); ++i) {
      const auto prefix = fmt::format("{}{}", name, i);
      Block block{.stride = stage > 1 && i == 0 ? 2 : 1};
      block.conv1 = std::make_unique<ConvNorm>(*this, file, prefix, "conv1", "bn1");
      block.conv2 = std::make_unique<ConvNorm>(*this, file, prefix, "conv2", "bn2");
      block.conv3 = std::make_unique<ConvNorm>(*this, file, prefix, "conv3", "bn3");
      if (file.contains(prefix + ".downsample.0.weight"))
        block.shortcut = std::make_unique<ConvNorm>(*this, file, prefix, "downsample.0", "downsample.1");
      blocks_.push_back(std::move(block));
    }
  }
  const auto sizes = file.get("visual.attnpool.c_proj.weight").sizes().vec();  // [E, D]
  const auto positions = file.get("visual.attnpool.positional_embedding").sizes().vec();
  if (sizes.size() != 2 || positions.size() != 2 || sizes[1] % kHeadWidth != 0)
    throw_user_error({.where = file.path().string(), .problem = "not CLIP's attention pool", .wanted = "a width that heads of 64 divide"});
  declare("visual.attnpool.positional_embedding", position_, positions);
  const auto projection = [&](const char* name, int64_t out) {
    return std::make_unique<nn::Linear>(*this, std::string("visual.attnpool.") + name, sizes[1], out);
  };
  q_proj_ = projection("q_proj", sizes[1]);
  k_proj_ = projection("k_proj", sizes[1]);
  v_proj_ = projection("v_proj", sizes[1]);
  c_proj_ = projection("c_proj", sizes[0]);
  file.load(*this, {"visual."});
}

Tensor ClipResnet::run(const Block& block, const Tensor& x) {
  Tensor y = at::relu(block.conv1->forward(x));
  y = pooled(at::relu(block.conv2->forward(y)), block.stride);
  y = block.conv3->forward(y);
  return at::relu(y + (block.shortcut ? block.shortcut->forward(pooled(x, block.stride)) : x));
}

Tensor ClipResnet::attention_pool(const Tensor& x) const {
  const Tensor places = x.flatten(2).transpose(1, 2);    // [N, h w, D]
  const Tensor mean = places.mean(1, /*keepdim=*/true);  // [N, 1, D]
  const Tensor tokens = at::cat({mean, places}, 1);      // [N, L, D]
  const int64_t heads = tokens.size(2) / kHeadWidth;
  const auto split = [&](const nn::Linear& projection, const Tensor& of) { return nn::split_heads(projection.forward(of), heads); };
  const Tensor seen = nn::attention(split(*q_proj_, mean), split(*k_proj_, tokens), split(*v_proj_, tokens));  // [N, H, 1, 64]
  return c_proj_->forward(nn::join_heads(seen)).squeeze(1);                                                    // [N, E]
}

Tensor ClipResnet::forward(const Tensor& pixels) const {
  check_shape(pixels, "N 3 H W", "pixels");
  Tensor x = pixels;
  for (size_t i = 0; i < stem_.size(); ++i) x = at::relu(stem_[i]->forward(x, i == 0 ? 2 : 1));
  x = pooled(x, 2);                                     // [N, C, H/4, W/4]
  for (const auto& block : blocks_) x = run(block, x);  // [N, D, H/32, W/32]
  return attention_pool(x);
}

}  // namespace resflow::rewards
