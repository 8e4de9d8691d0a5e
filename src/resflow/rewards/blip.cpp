#include "resflow/rewards/blip.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "resflow/core/error.h"
#include "resflow/nn/attention.h"

namespace resflow::rewards {
namespace {

constexpr int64_t kHeadWidth = 64;
constexpr double kVisionEps = 1e-6, kTextEps = 1e-12;

std::vector<int64_t> shape_of(const weights::TensorFile& file, const std::string& name, size_t axes) {
  auto shape = file.shape(name);
  if (shape.size() != axes)
    throw_user_error({.where = file.path().string(),
                      .problem = "'" + name + "' is not BLIP's",
                      .wanted = fmt::format("{} axes", axes),
                      .got = fmt::format("[{}]", fmt::join(shape, ", "))});
  return shape;
}

int64_t heads_of(const weights::TensorFile& file, const std::string& name, int64_t width) {
  if (width % kHeadWidth != 0)
    throw_user_error({.where = file.path().string(),
                      .problem = name + " is not BLIP's",
                      .wanted = "a width that heads of 64 divide",
                      .got = std::to_string(width)});
  return width / kHeadWidth;
}

}  // namespace

struct BlipVisionBlock : nn::Module {
  BlipVisionBlock(nn::Module& parent, const std::string& name, int64_t width, int64_t inner, int64_t heads_)
      : Module(parent, name),
        heads(heads_),
        norm1(*this, "norm1", width, kVisionEps),
        norm2(*this, "norm2", width, kVisionEps),
        qkv(*this, "attn.qkv", width, 3 * width),
        proj(*this, "attn.proj", width, width),
        fc1(*this, "mlp.fc1", width, inner),
        fc2(*this, "mlp.fc2", inner, width) {}

  Tensor forward(const Tensor& x) const {
    const auto parts = qkv.forward(norm1.forward(x)).chunk(3, -1);                                      // three of [N, L, D]
    const auto split = [&](size_t i) { return nn::split_heads(parts[i], heads); };                      // [N, H, L, 64]
    const Tensor seen = x + proj.forward(nn::join_heads(nn::attention(split(0), split(1), split(2))));  // [N, L, D]
    return seen + fc2.forward(at::gelu(fc1.forward(norm2.forward(seen))));
  }

  int64_t heads;
  nn::LayerNorm norm1, norm2;
  nn::Linear qkv, proj, fc1, fc2;
};

BlipVision::BlipVision(nn::Module& parent, const std::string& name, const weights::TensorFile& file) : Module(parent, name) {
  const auto patch = shape_of(file, name + ".patch_embed.proj.weight", 4), positions = shape_of(file, name + ".pos_embed", 3);
  const auto grid = std::llround(std::sqrt(static_cast<double>(positions[1] - 1)));
  if (grid < 1 || grid * grid + 1 != positions[1])
    throw_user_error({.where = file.path().string(),
                      .problem = "'" + name + ".pos_embed' is not BLIP's",
                      .wanted = "positions of a square and one more",
                      .got = std::to_string(positions[1])});
  width_ = patch[0];
  patch_ = patch[2];
  side_ = grid * patch_;
  declare("cls_token", class_token_, {1, 1, width_});
  declare("pos_embed", position_, {1, positions[1], width_});
  declare("patch_embed.proj.weight", patch_weight_, {width_, 3, patch_, patch_});
  declare("patch_embed.proj.bias", patch_bias_, {width_});
  const auto block = [&](size_t i) { return fmt::format("{}.blocks.{}.mlp.fc1.weight", name, i); };
  for (size_t i = 0; file.contains(block(i)); ++i)
    blocks_.push_back(
        std::make_unique<BlipVisionBlock>(*this, fmt::format("blocks.{}", i), width_, shape_of(file, block(i), 2)[0], heads_of(file, name, width_)));
  norm_ = std::make_unique<nn::LayerNorm>(*this, "norm", width_, kVisionEps);
}

BlipVision::~BlipVision() = default;

Tensor BlipVision::forward(const Tensor& pixels) const {
  check_shape(pixels, "N 3 S S", "pixels");
  const Tensor patches = at::conv2d(pixels, patch_weight_, patch_bias_, patch_).flatten(2).transpose(1, 2);  // [N, L - 1, D]
  Tensor x = at::cat({class_token_.expand({pixels.size(0), 1, -1}), patches}, 1) + position_;                // [N, L, D]
  for (const auto& block : blocks_) x = block->forward(x);
  return norm_->forward(x);
}

// Attention of a text to itself or to an image, and the norm behind it.
struct BlipAttention : nn::Module {
  BlipAttention(nn::Module& parent, const std::string& name, int64_t width, int64_t seen, int64_t heads_)
      : Module(parent, name),
        heads(heads_),
        query(*this, "self.query", width, width),
        key(*this, "self.key", seen, width),
        value(*this, "self.value", seen, width),
        dense(*this, "output.dense", width, width),
        norm(*this, "output.LayerNorm", width, kTextEps) {}

  // x [N, T, D], to [N, L, seen] -> [N, T, D]
  Tensor forward(const Tensor& x, const Tensor& to) const {
    const auto split = [&](const nn::Linear& projection, const Tensor& of) { return nn::split_heads(projection.forward(of), heads); };
    return norm.forward(x + dense.forward(nn::join_heads(nn::attention(split(query, x), split(key, to), split(value, to)))));
  }

  int64_t heads;
  nn::Linear query, key, value, dense;
  nn::LayerNorm norm;
};

struct BlipTextLayer : nn::Module {
  BlipTextLayer(nn::Module& parent, const std::string& name, int64_t width, int64_t inner, int64_t seen, int64_t heads)
      : Module(parent, name),
        attention(*this, "attention", width, width, heads),
        crossattention(*this, "crossattention", width, seen, heads),
        intermediate(*this, "intermediate.dense", width, inner),
        output(*this, "output.dense", inner, width),
        norm(*this, "output.LayerNorm", width, kTextEps) {}

  Tensor forward(Tensor x, const Tensor& image) const {
    x = attention.forward(x, x);
    x = crossattention.forward(x, image);
    return norm.forward(x + output.forward(at::gelu(intermediate.forward(x))));
  }

  BlipAttention attention, crossattention;
  nn::Linear intermediate, output;
  nn::LayerNorm norm;
};

BlipText::BlipText(nn::Module& parent, const std::string& name, const weights::TensorFile& file, int64_t seen) : Module(parent, name) {
  const auto table = shape_of(file, name + ".embeddings.word_embeddings.weight", 2);
  words_ = table[0];
  width_ = table[1];
  word_embeddings_ = std::make_unique<nn::Embedding>(*this, "embeddings.word_embeddings", words_, width_);
  position_embeddings_ = std::make_unique<nn::Embedding>(*this, "embeddings.position_embeddings",
                                                         shape_of(file, name + ".embeddings.position_embeddings.weight", 2)[0], width_);
  norm_ = std::make_unique<nn::LayerNorm>(*this, "embeddings.LayerNorm", width_, kTextEps);
  const auto layer = [&](size_t i) { return fmt::format("{}.encoder.layer.{}.intermediate.dense.weight", name, i); };
  for (size_t i = 0; file.contains(layer(i)); ++i)
    layers_.push_back(std::make_unique<BlipTextLayer>(*this, fmt::format("encoder.layer.{}", i), width_, shape_of(file, layer(i), 2)[0], seen,
                                                      heads_of(file, name, width_)));
}

BlipText::~BlipText() = default;

Tensor BlipText::forward(const Tensor& tokens, const Tensor& image) const {
  check_shape(tokens, "1 T", "tokens");
  check_shape(image, "N L D", "image");
  const Tensor places = at::arange(tokens.size(1), tokens.options());
  const Tensor text = norm_->forward(word_embeddings_->forward(tokens) + position_embeddings_->forward(places));  // [1, T, D]
  Tensor x = text.expand({image.size(0), -1, -1});                                                                // [N, T, D]
  for (const auto& layer : layers_) x = layer->forward(x, image);
  return x;
}

}  // namespace resflow::rewards
