#include "resflow/text/t5_encoder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "resflow/core/error.h"
#include "resflow/nn/attention.h"
#include "resflow/weights/t5_names.h"

namespace resflow::text {
namespace {

constexpr const char* kRelativeBias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias";

T5Shape shape_of(const weights::TensorFile& file, const std::string& prefix, const std::string& embedding) {
  const auto matrix = [&](const std::string& name) {
    const std::string full = prefix + name + ".weight";
    if (!file.contains(full) || file.shape(full).size() != 2)
      throw_user_error({.where = file.path().string(),
                        .problem = fmt::format("no matrix '{}'", full),
                        .wanted = "the encoder of T5 v1.1 under transformers' names"});
    return file.shape(full);
  };
  T5Shape out{};
  out.vocabulary = matrix(embedding)[0];
  out.width = matrix(embedding)[1];
  out.buckets = matrix(kRelativeBias)[0];
  out.heads = matrix(kRelativeBias)[1];
  out.inner = matrix("encoder.block.0.layer.1.DenseReluDense.wi_0")[0];
  const int64_t projected = matrix("encoder.block.0.layer.0.SelfAttention.q")[0];
  if (out.heads < 1 || projected % out.heads != 0 || out.buckets < 4 || out.buckets % 4 != 0)
    throw_user_error({.where = file.path().string(),
                      .problem = "shapes that do not fit together",
                      .got = fmt::format("a projection of {}, {} heads, {} buckets", projected, out.heads, out.buckets)});
  out.head_width = projected / out.heads;
  while (file.contains(fmt::format("{}encoder.block.{}.layer.0.SelfAttention.q.weight", prefix, out.layers))) ++out.layers;
  return out;
}

std::string embedding_name(const weights::TensorFile& file, const std::string& prefix) {
  return file.contains(prefix + "shared.weight") ? "shared" : "encoder.embed_tokens";
}

}  // namespace

T5Block::T5Block(nn::Module& parent, const std::string& name, const T5Shape& shape)
    : Module(parent, name),
      heads_(shape.heads),
      q_(*this, "layer.0.SelfAttention.q", shape.width, shape.heads * shape.head_width, {.bias = false}),
      k_(*this, "layer.0.SelfAttention.k", shape.width, shape.heads * shape.head_width, {.bias = false}),
      v_(*this, "layer.0.SelfAttention.v", shape.width, shape.heads * shape.head_width, {.bias = false}),
      o_(*this, "layer.0.SelfAttention.o", shape.heads * shape.head_width, shape.width, {.bias = false}),
      attention_norm_(*this, "layer.0.layer_norm", shape.width),
      wi_0_(*this, "layer.1.DenseReluDense.wi_0", shape.width, shape.inner, {.bias = false}),
      wi_1_(*this, "layer.1.DenseReluDense.wi_1", shape.width, shape.inner, {.bias = false}),
      wo_(*this, "layer.1.DenseReluDense.wo", shape.inner, shape.width, {.bias = false}),
      network_norm_(*this, "layer.1.layer_norm", shape.width) {}

Tensor T5Block::forward(const Tensor& x, const Tensor& bias) const {
  const Tensor normed = attention_norm_.forward(x);
  const auto heads = [&](const nn::Linear& projection) { return nn::split_heads(projection.forward(normed), heads_); };  // [B, H, L, E]
  const Tensor seen = x + o_.forward(nn::join_heads(nn::attention(heads(q_), heads(k_), heads(v_), bias, 1.0)));
  const Tensor inner = network_norm_.forward(seen);
  return seen + wo_.forward(at::gelu(wi_0_.forward(inner), "tanh") * wi_1_.forward(inner));
}

T5Encoder::T5Encoder(const weights::TensorFile& any, const std::string& prefix, weights::Conversion conversion)
    : T5Encoder(Named{}, prefix.empty() ? weights::t5_as_transformers(any) : any, prefix, conversion) {}

T5Encoder::T5Encoder(Named, const weights::TensorFile& file, const std::string& prefix, weights::Conversion conversion)
    : shape_(shape_of(file, prefix, embedding_name(file, prefix))),
      embedding_(*this, embedding_name(file, prefix), shape_.vocabulary, shape_.width),
      relative_bias_(*this, kRelativeBias, shape_.buckets, shape_.heads),
      final_norm_(*this, "encoder.final_layer_norm", shape_.width) {
  for (int64_t i = 0; i < shape_.layers; ++i) blocks_.push_back(std::make_unique<T5Block>(*this, fmt::format("encoder.block.{}", i), shape_));
  const auto half = [&](const char* name) { return file.dtype(prefix + name) == at::kHalf; };
  if (!conversion.dtype && (half("encoder.final_layer_norm.weight") || half("encoder.block.0.layer.1.DenseReluDense.wo.weight"))) {
    conversion.dtype = at::kFloat;
    conversion.keep_stored = true;  // the whole encoder would take twice the memory
  }
  const auto report = weights::bind(*this, file, prefix, conversion);
  if (!report.missing.empty()) throw_user_error({.where = file.path().string(), .problem = fmt::format("no tensor '{}'", report.missing.front())});
  for (const auto& name : report.unexpected)  // a decoder may be there; a second copy of the embedding is in many files
    if (name.starts_with(prefix + "encoder.") && name != prefix + "encoder.embed_tokens.weight")
      throw_user_error({.where = file.path().string(), .problem = fmt::format("a tensor that T5's encoder has no place for: '{}'", name)});
}

Tensor T5Encoder::position_bias(int64_t length) const {
  // Half of the buckets for each side; of these, half for single distances, the rest in logarithmic steps up to kFarthest.
  constexpr double kFarthest = 128;
  const int64_t side = shape_.buckets / 2, single = side / 2;
  const Tensor places = at::arange(length);
  const Tensor difference = places.unsqueeze(0) - places.unsqueeze(1);  // [Lq, Lk]: key - query
  const Tensor distance = difference.abs();
  // In float32, as the reference: the steps' borders depend on the rounding.
  const Tensor far = single + (at::log(distance.to(at::kFloat) / static_cast<double>(single)) / std::log(kFarthest / static_cast<double>(single)) *
                               static_cast<double>(side - single))
                                  .to(at::kLong);
  const Tensor bucket = difference.gt(0).to(at::kLong) * side + at::where(distance < single, distance, far.clamp_max(side - 1));
  return relative_bias_.forward(bucket.to(relative_bias_.device())).permute({2, 0, 1}).unsqueeze(0);
}

Tensor T5Encoder::forward(const Tensor& tokens) const {
  check_shape(tokens, "B L", "tokens");
  Tensor x = embedding_.forward(tokens);  // [B, L, D]
  const Tensor bias = position_bias(tokens.size(1)).contiguous();
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const nn::LayerTurn here(stream_.get(), i);
    x = blocks_[i]->forward(x, bias);
  }
  return final_norm_.forward(x);
}

std::vector<nn::Module*> T5Encoder::block_modules() const {
  std::vector<nn::Module*> out;
  for (const auto& block : blocks_) out.push_back(block.get());
  return out;
}

void T5Encoder::stream_blocks(c10::Device device) {
  stream_.reset();
  if (!blocks_.empty()) stream_ = std::make_unique<nn::LayerStream>(block_modules(), device);
  if (device.is_cpu()) return;
  for (nn::Module* module :
       {static_cast<nn::Module*>(&embedding_), static_cast<nn::Module*>(&relative_bias_), static_cast<nn::Module*>(&final_norm_)})
    for (const auto& tensor : module->named_parameters()) {
      if (tensor.slot->defined()) *tensor.slot = tensor.slot->to(device);
      if (tensor.quantised != nullptr && tensor.quantised->defined()) tensor.quantised->to(device, tensor.quantised->dtype);
    }
}

}  // namespace resflow::text
