#include "resflow/models/esrgan/rrdb_net.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/error.h"

namespace resflow::models {
namespace {

constexpr double kResidual = 0.2;  // what a block adds, and what a dense block adds
constexpr int kDensePerBlock = 3, kConvsPerDense = 5;

Tensor activated(Tensor x) { return at::leaky_relu_(x, 0.2); }

Tensor doubled(const Tensor& x) { return at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)}); }

}  // namespace

std::optional<RrdbConfig> rrdb_config(const weights::TensorFile& file) {
  if (!file.contains("conv_first.weight") || !file.contains("body.0.rdb1.conv1.weight")) return std::nullopt;
  const auto first = file.shape("conv_first.weight"), dense = file.shape("body.0.rdb1.conv1.weight");
  RrdbConfig config;
  const int64_t inputs = first.size() == 4 ? first[1] : 0;
  config.unshuffle = inputs == 3 ? 1 : inputs == 12 ? 2 : inputs == 48 ? 4 : 0;
  if (config.unshuffle == 0 || dense.size() != 4)
    throw_user_error({.where = "real-esrgan",
                      .problem = file.path().string() + ": the network sees no picture of three channels",
                      .wanted = "3, 12 or 48 inputs of conv_first.weight (x4, x2, x1)",
                      .got = std::to_string(inputs)});
  config.features = first[0];
  config.growth = dense[0];
  config.blocks = 1;
  while (file.contains(fmt::format("body.{}.rdb1.conv1.weight", config.blocks))) ++config.blocks;
  return config;
}

DenseBlock::DenseBlock(Module& parent, const std::string& name, int64_t features, int64_t growth) : Module(parent, name) {
  for (int i = 0; i < kConvsPerDense; ++i)
    convs_.push_back(
        std::make_unique<nn::Conv2d>(*this, fmt::format("conv{}", i + 1), features + i * growth, i + 1 < kConvsPerDense ? growth : features, 3));
}

Tensor DenseBlock::forward(const Tensor& x) const {
  std::vector<Tensor> made = {x};
  for (size_t i = 0; i + 1 < convs_.size(); ++i) made.push_back(activated(convs_[i]->forward(made.size() > 1 ? at::cat(made, 1) : x)));
  return at::add(x, convs_.back()->forward(at::cat(made, 1)), kResidual);
}

RrdbNet::RrdbNet(const RrdbConfig& config)
    : config_(config),
      conv_first_(*this, "conv_first", 3 * config.unshuffle * config.unshuffle, config.features, 3),
      conv_body_(*this, "conv_body", config.features, config.features, 3),
      conv_up1_(*this, "conv_up1", config.features, config.features, 3),
      conv_up2_(*this, "conv_up2", config.features, config.features, 3),
      conv_hr_(*this, "conv_hr", config.features, config.features, 3),
      conv_last_(*this, "conv_last", config.features, 3, 3) {
  for (int64_t i = 0; i < config.blocks; ++i)
    for (int k = 1; k <= kDensePerBlock; ++k)
      body_.push_back(std::make_unique<DenseBlock>(*this, fmt::format("body.{}.rdb{}", i, k), config.features, config.growth));
}

std::string RrdbNet::architecture() const {
  return fmt::format("RRDBNet, {} block{} of {} features, x{}", config_.blocks, config_.blocks == 1 ? "" : "s", config_.features, scale());
}

Tensor RrdbNet::forward(const Tensor& image) const {
  Tensor x = image.to(conv_first_.weight.scalar_type());
  if (config_.unshuffle > 1) x = at::pixel_unshuffle(x, config_.unshuffle);
  const Tensor first = conv_first_.forward(x.contiguous(at::MemoryFormat::ChannelsLast));  // [B, C, h, w]
  Tensor h = first;
  for (size_t i = 0; i < body_.size(); i += kDensePerBlock) {
    Tensor inner = h;
    for (size_t k = i; k < i + kDensePerBlock; ++k) inner = body_[k]->forward(inner);
    h = at::add(h, inner, kResidual);
  }
  h = first + conv_body_.forward(h);
  h = activated(conv_up1_.forward(doubled(h)));  // [B, C, 2h, 2w]
  h = activated(conv_up2_.forward(doubled(h)));  // [B, C, 4h, 4w]
  return conv_last_.forward(activated(conv_hr_.forward(h))).to(at::kFloat);
}

}  // namespace resflow::models
