#include "resflow/text/clip_encoder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/error.h"
#include "resflow/nn/attention.h"

namespace resflow::text {
namespace {

constexpr int64_t kHeadWidth = 64;

int64_t heads_of(int64_t width, const ClipTower& tower) {
  const int64_t heads = tower.heads > 0 ? tower.heads : width / kHeadWidth;
  if (heads < 1 || width % heads != 0)
    throw_user_error({.where = "CLIP", .problem = "the width does not divide among the heads", .got = fmt::format("{} and {}", width, heads)});
  return heads;
}

}  // namespace

ClipEncoderLayer::ClipEncoderLayer(nn::Module& parent, const std::string& name, int64_t width, int64_t inner, const ClipTower& tower)
    : Module(parent, name),
      heads_(heads_of(width, tower)),
      quick_gelu_(tower.quick_gelu),
      layer_norm1(*this, "layer_norm1", width, tower.eps),
      q_proj(*this, "self_attn.q_proj", width, width),
      k_proj(*this, "self_attn.k_proj", width, width),
      v_proj(*this, "self_attn.v_proj", width, width),
      out_proj(*this, "self_attn.out_proj", width, width),
      layer_norm2(*this, "layer_norm2", width, tower.eps),
      fc1(*this, "mlp.fc1", width, inner),
      fc2(*this, "mlp.fc2", inner, width) {}

Tensor ClipEncoderLayer::forward(const Tensor& x, const Tensor& mask) const {
  const Tensor normed = layer_norm1.forward(x);
  const auto heads = [&](const nn::Linear& projection) { return nn::split_heads(projection.forward(normed), heads_); };  // [B, H, L, E]
  const Tensor seen = x + out_proj.forward(nn::join_heads(nn::attention(heads(q_proj), heads(k_proj), heads(v_proj), mask)));
  const Tensor inner = fc1.forward(layer_norm2.forward(seen));  // [B, L, inner]
  return seen + fc2.forward(quick_gelu_ ? inner * at::sigmoid(1.702 * inner) : at::gelu(inner));
}

ClipEncoder::ClipEncoder(nn::Module& parent, const std::string& name, const ClipFile& file, const ClipTower& tower) : Module(parent, name) {
  const int64_t count = file.count(name + ".layers.");
  const Tensor first = file.get(name + ".layers.0.mlp.fc1.weight");  // [inner, D]
  if (first.dim() != 2) throw_user_error({.where = file.path().string(), .problem = "not a CLIP file: a network's weight is not a matrix"});
  width_ = first.size(1);
  for (int64_t i = 0; i < count; ++i)
    layers_.push_back(std::make_unique<ClipEncoderLayer>(*this, fmt::format("layers.{}", i), width_, first.size(0), tower));
}

Tensor ClipEncoder::forward(const Tensor& x, const Tensor& mask, std::vector<Tensor>* after_each) const {
  Tensor hidden = x;
  if (after_each != nullptr) *after_each = {hidden};
  for (const auto& layer : layers_) {
    hidden = layer->forward(hidden, mask);
    if (after_each != nullptr) after_each->push_back(hidden);
  }
  return hidden;
}

}  // namespace resflow::text
