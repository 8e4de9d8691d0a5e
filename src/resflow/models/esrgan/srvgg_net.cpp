#include "resflow/models/esrgan/srvgg_net.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "resflow/core/error.h"

namespace resflow::models {

std::optional<SrvggConfig> srvgg_config(const weights::TensorFile& file) {
  const auto name = [](int64_t i) { return fmt::format("body.{}.weight", i); };
  if (!file.contains(name(0)) || !file.contains(name(1)) || file.shape(name(0)).size() != 4 || file.shape(name(1)).size() != 1) return std::nullopt;
  int64_t last = 0;
  while (file.contains(name(last + 2))) last += 2;
  const int64_t outputs = file.shape(name(last))[0];
  const auto scale = std::llround(std::sqrt(static_cast<double>(outputs) / 3));
  if (last < 2 || scale < 1 || 3 * scale * scale != outputs)
    throw_user_error({.where = "real-esrgan",
                      .problem = file.path().string() + ": the last convolution makes no picture of three channels",
                      .wanted = "3 x scale x scale outputs of " + name(last),
                      .got = std::to_string(outputs),
                      .hint = "Is the file whole?"});
  return SrvggConfig{.features = file.shape(name(0))[0], .convolutions = last / 2 - 1, .scale = scale};
}

Tensor PRelu::forward(const Tensor& x) const { return at::prelu(x, weight); }

SrvggNet::SrvggNet(const SrvggConfig& config) : config_(config) {
  for (int64_t i = 0; i < config.convolutions + 2; ++i) {
    const bool last = i == config.convolutions + 1;
    convs_.push_back(std::make_unique<nn::Conv2d>(*this, fmt::format("body.{}", 2 * i), i == 0 ? 3 : config.features,
                                                  last ? 3 * config.scale * config.scale : config.features, 3));
    if (!last) slopes_.push_back(std::make_unique<PRelu>(*this, fmt::format("body.{}", 2 * i + 1), config.features));
  }
}

std::string SrvggNet::architecture() const {
  return fmt::format("SRVGGNetCompact, {} convolutions of {} features, x{}", config_.convolutions, config_.features, config_.scale);
}

Tensor SrvggNet::forward(const Tensor& image) const {
  Tensor h = image.to(convs_.front()->weight.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
  for (size_t i = 0; i < slopes_.size(); ++i) h = slopes_[i]->forward(convs_[i]->forward(h));  // [B, C, H, W]
  const Tensor change = at::pixel_shuffle(convs_.back()->forward(h), config_.scale);           // [B, 3, scale H, scale W]
  const Tensor nearest = at::upsample_nearest2d(image.to(at::kFloat), {change.size(2), change.size(3)});
  return nearest + change.to(at::kFloat);
}

}  // namespace resflow::models
