#include "resflow/models/compact/flow.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "resflow/models/tokens.h"

namespace resflow::models {
namespace {

constexpr int64_t kUnshuffle = CompactRemover::kUnshuffle;
constexpr int64_t kPixels = 3 * kUnshuffle * kUnshuffle;  // channels of an unshuffled image

Tensor per_sample(const Tensor& values) { return values.view({-1, 1, 1, 1}); }
Tensor unshuffle(const Tensor& image) { return at::pixel_unshuffle(image, kUnshuffle).contiguous(at::MemoryFormat::ChannelsLast); }

std::vector<int64_t> rope_axes(const CompactConfig& config) {
  const int64_t head = config.width / config.heads, spatial = head * 7 / 16 / 2 * 2;  // FLUX's split: 16, 56, 56 of 128
  return {head - 2 * spatial, spatial, spatial};
}

}  // namespace

CompactCondition select(const CompactCondition& condition, const Tensor& places) {
  CompactCondition out = condition;
  out.reference = condition.reference.index_select(0, places);
  out.map = condition.map.index_select(0, places).contiguous(at::MemoryFormat::ChannelsLast);
  for (auto& [key, value] : out.tokens) {
    key = key.index_select(0, places);
    value = value.index_select(0, places);
  }
  if (out.embedded.defined()) out.embedded = out.embedded.index_select(0, places);
  return out;
}

CompactFlow::CompactFlow(const CompactConfig& config)
    : config_(config),
      time_embedder_(*this, "time_embed.timestep_embedder", 64, config.width),
      sigma_s_embedder_(*this, "time_embed.sigma_s_embedder", 64, config.width),
      condition_in_(*this, "condition_in", config.channels + 2 * kPixels, config.channels, 3),
      latent_in_(*this, "latent_in", kPixels, config.channels, 3),
      x_embedder_(*this, "x_embedder", config.channels * kPatch * kPatch, config.width, {.condition_rank = sequence() ? config.condition_rank : 0}),
      proj_out_(*this, "proj_out", config.width, config.channels * kPatch * kPatch, {.zero_init = true}),
      conv_out_(*this, "conv_out", config.channels, kPixels, 3, 0) {
  if (config.width % (16 * config.heads) != 0)
    throw_user_error({.where = "compact",
                      .problem = "the width does not fit the heads",
                      .wanted = fmt::format("a width that is a multiple of 16 x {} heads", config.heads),
                      .got = fmt::format("{}", config.width)});
  for (int64_t i = 0; i < config.stem_blocks; ++i)
    stem_.push_back(std::make_unique<ResidualBlock>(*this, "stem." + std::to_string(i), config.channels, config.width));
  if (config.words && !sequence())
    throw_user_error({.where = "compact", .problem = "words are tokens of a sequence", .wanted = "fusion = \"sequence\"", .got = config.fusion});
  const BlockConfig block{.width = config.width,
                          .heads = config.heads,
                          .mlp_ratio = config.mlp_ratio,
                          .condition_rank = sequence() ? config.condition_rank : 0,
                          .text = config.words};
  if (config.words) word_embedder_.emplace(*this, "word_embedder", kFlaws * kSaid, config.width);
  for (int64_t i = 0; i < config.depth; ++i)
    blocks_.push_back(std::make_unique<DoubleStreamBlock>(*this, "transformer_blocks." + std::to_string(i), block));
  // A ControlNet's first map lets the condition in from the start, since its last ones are zero; without one that map is the zero map.
  if (!sequence() && config.depth > 0)
    condition_embedder_.emplace(*this, "condition_embedder", config.channels * kPatch * kPatch, config.width,
                                nn::Linear::Options{.zero_init = config.fusion == "addition"});
  if (config.fusion == "controlnet")
    for (int64_t i = 0; i < (config.depth + 1) / 2; ++i) {
      control_blocks_.push_back(std::make_unique<DoubleStreamBlock>(*this, "control_blocks." + std::to_string(i), block));
      control_out_.push_back(std::make_unique<nn::Linear>(*this, "control_out." + std::to_string(i), config.width, config.width,
                                                          nn::Linear::Options{.zero_init = true}));
    }
  for (int64_t i = 0; i < config.head_blocks; ++i)
    head_.push_back(std::make_unique<ResidualBlock>(*this, "head." + std::to_string(i), config.channels, config.width));
  if (config.refine > 0) {
    refine_.push_back(std::make_unique<nn::Conv2d>(*this, "refine.0", 9, config.refine, 3));
    refine_.push_back(std::make_unique<nn::Conv2d>(*this, "refine.1", config.refine, config.refine, 3));
    refine_.push_back(std::make_unique<nn::Conv2d>(*this, "refine.2", config.refine, 3, 3, 0));
  }
}

Tensor CompactFlow::embedding(const Tensor& t, const Tensor& sigma_s) const {
  // sigma_s spans a decade: embedded by its logarithm, -250..250 for 0.05..0.5 as 1000 t spans 0..1000.
  return time_embedder_.forward(t * 1000) + sigma_s_embedder_.forward((sigma_s / 0.158).log() * 217);
}

void CompactFlow::add_words(const Tensor& words, int64_t batch, const Tensor& temb, CompactCondition& condition) const {
  const Tensor said = words.defined() ? words : word_numbers({}).unsqueeze(0);
  Tensor text = word_embedder_->forward(said.to(temb.device()).expand({batch, kFlaws}));  // [B, kFlaws, D]
  // The table says which flaw a token is of: all lie at the origin, as FLUX's text does.
  const auto rope = nn::make_rope(at::zeros({kFlaws, 3}, condition.mask.options().dtype(at::kDouble)), rope_axes(config_));
  for (size_t i = 0; i < blocks_.size(); ++i) {
    KeyValue given;
    text = blocks_[i]->forward_text(text, temb, rope, given);
    auto& [key, value] = condition.tokens[i];
    key = at::cat({key, given.key}, 2);
    value = at::cat({value, given.value}, 2);
  }
  condition.mask = at::cat({condition.mask, condition.mask.new_zeros({condition.mask.size(0), kFlaws})}, 1);
}

CompactCondition CompactFlow::prepare(const Tensor& image, const CompactRemover::Output& remover, const Tensor& words) const {
  check_shape(image, "B 3 H W", "image");
  TORCH_CHECK(image.size(2) % kMultiple == 0 && image.size(3) % kMultiple == 0, "compact: wanted sides that are multiples of ", kMultiple, ", got ",
              image.sizes());
  const int64_t rows = image.size(2) / kMultiple, columns = image.size(3) / kMultiple;
  CompactCondition out;
  out.reference = remover.reference;
  // The reference stays in float32 where the weights are narrower: z is measured from it.
  const Tensor seen =
      at::cat({remover.features, unshuffle(remover.reference - 0.5), unshuffle(image - 0.5)}, 1).to(condition_in_.weight.scalar_type());
  out.map = at::leaky_relu(condition_in_.forward(seen), 0.1);  // [B, C, h, w]
  out.rope = nn::make_rope(image_ids(rows, columns).to(image.device()), rope_axes(config_));
  out.mask = neighbourhood_mask(rows, columns, config_.radius).to(image.device());
  if (!sequence()) {
    out.mask = out.mask.narrow(1, 0, rows * columns);  // [L, L]
    if (condition_embedder_) out.embedded = condition_embedder_->forward(patchify(out.map, kPatch));
  } else if (!blocks_.empty()) {
    const Tensor none = at::zeros({image.size(0)}, image.options().dtype(at::kFloat));
    const Tensor temb = time_embedder_.forward(none);                                       // time 0, whatever sigma_s: cacheable
    const Tensor own_mask = out.mask.narrow(1, 0, rows * columns);                          // [L, L]
    Tensor tokens = x_embedder_.forward(patchify(out.map, kPatch), nn::Branch::condition);  // [B, L, D]
    for (const auto& block : blocks_) tokens = block->forward_condition(tokens, temb, out.rope, own_mask, out.tokens.emplace_back());
    if (word_embedder_) add_words(words, image.size(0), temb, out);
  }
  return out;
}

std::vector<Tensor> CompactFlow::controls(Tensor tokens, const Tensor& temb, const CompactCondition& condition) const {
  std::vector<Tensor> out;
  for (size_t i = 0; i < control_blocks_.size(); ++i) {
    tokens = control_blocks_[i]->forward(tokens, temb, condition.rope, {}, condition.mask);
    out.push_back(control_out_[i]->forward(tokens));
  }
  return out;
}

Tensor CompactFlow::transformed(Tensor tokens, const Tensor& temb, const CompactCondition& condition) const {
  std::vector<Tensor> added;
  if (!control_blocks_.empty()) {
    added = controls(tokens + condition.embedded, temb, condition);
  } else if (condition.embedded.defined()) {
    tokens = tokens + condition.embedded;
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    tokens = blocks_[i]->forward(tokens, temb, condition.rope, sequence() ? condition.tokens[i] : KeyValue{}, condition.mask);
    if (!added.empty()) tokens = tokens + added[i * added.size() / blocks_.size()];
  }
  return tokens;
}

Tensor CompactFlow::predict_x0(const Tensor& z, const Tensor& t, const Tensor& sigma_s, const CompactCondition& condition) const {
  const double data2 = config_.sigma_data * config_.sigma_data;
  const Tensor keep = per_sample(1 - t), noise = per_sample(t * sigma_s);  // z - y* = keep * residual + noise * n
  const Tensor variance = keep.square() * data2 + noise.square();          // [B, 1, 1, 1]
  const Tensor offset = z - condition.reference;                           // [B, 3, H, W]
  const Tensor temb = embedding(t, sigma_s);                               // [B, D]

  const auto dtype = latent_in_.weight.scalar_type();
  const Tensor scaled = (offset * variance.rsqrt()).to(dtype);
  Tensor h = latent_in_.forward(unshuffle(scaled)) + condition.map;  // [B, C, h, w]
  for (const auto& block : stem_) h = block->forward(h, temb);
  if (!blocks_.empty()) {
    Tensor tokens = x_embedder_.forward(patchify(h, kPatch));  // [B, L, D]
    tokens = transformed(tokens, temb, condition);
    tokens = proj_out_.forward(nn::plain_layer_norm(tokens));                                                               // [B, L, C P P]
    h = h + unpatchify(tokens, kPatch, h.size(2) / kPatch, h.size(3) / kPatch).contiguous(at::MemoryFormat::ChannelsLast);  // [B, C, h, w]
  }
  for (const auto& block : head_) h = block->forward(h, temb);
  Tensor detail = at::pixel_shuffle(conv_out_.forward(h), kUnshuffle);  // [B, 3, H, W], unit variance
  if (!refine_.empty()) {
    const Tensor reference = (condition.reference - 0.5).to(dtype).expand_as(detail);
    Tensor fine = at::cat({detail, scaled, reference}, 1).contiguous(at::MemoryFormat::ChannelsLast);  // [B, 9, H, W]
    for (size_t i = 0; i + 1 < refine_.size(); ++i) fine = at::leaky_relu(refine_[i]->forward(fine), 0.1);
    detail = detail + refine_.back()->forward(fine);
  }
  return condition.reference + config_.sigma_data * detail.to(z.scalar_type());
}

Tensor CompactFlow::velocity(const Tensor& z, const Tensor& t, const Tensor& sigma_s, const CompactCondition& condition) const {
  return (z - predict_x0(z, t, sigma_s, condition)) / per_sample(t);
}

Tensor CompactFlow::shared_noise(const Stream& field) const { return config_.shared_noise * normal_like_shape(field.child("shared"), {1, 3, 1, 1}); }

double CompactFlow::time_shift(double sigma_s) const { return std::log(config_.sigma_data / sigma_s); }

Tensor CompactFlow::loss_weight(const Tensor& t, const Tensor& sigma_s) const {
  // The velocity's 1 / u^2, held where it would let the last steps outweigh all others.
  const Tensor noise = t * sigma_s, signal = (1 - t) * config_.sigma_data;
  return 1 / (config_.sigma_data * config_.sigma_data * (noise / (noise + signal)).clamp_min(0.2).square());
}

}  // namespace resflow::models
