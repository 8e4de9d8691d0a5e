#include "resflow/train/flux_validation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "resflow/autoencoders/file.h"
#include "resflow/flow/denoise.h"
#include "resflow/flow/schedule.h"

namespace resflow::train {
namespace {

constexpr int64_t kMostSamples = 16, kMostRows = 4;
constexpr double kTimes[] = {0.1, 0.3, 0.5, 0.7, 0.9};

// A picture to an eighth of whose side a latent stands, at another one's size.
Tensor sized(const Tensor& image, const Tensor& like) {
  return image.sizes() == like.sizes() ? image : at::upsample_bilinear2d(image, {like.size(2), like.size(3)}, /*align_corners=*/false);
}

}  // namespace

Tensor validation_noise(int64_t row, int64_t draw, at::IntArrayRef shape) {
  const Stream stream = Stream(0, "train.flux.validation").child("sample", static_cast<uint64_t>(row)).child("noise", static_cast<uint64_t>(draw));
  return normal_like_shape(stream, shape);
}

FluxValidation::FluxValidation(const TrainOptions& options, c10::Device device) : options_(options), device_(device) {
  if (options.validation.empty()) return;
  shard_.emplace(std::vector<std::string>{options.validation}, options.fusion.condition);
  if (!options.flux.autoencoder.empty())
    autoencoder_ = autoencoders::load_autoencoder(options.flux.autoencoder, {.dtype = at::kFloat, .device = device});
}

FluxValidation::Result FluxValidation::run(const FluxObjective& objective) const {
  if (!shard_) return {};
  at::NoGradGuard no_grad;
  return {.loss = loss(objective), .grid = autoencoder_ ? grid(objective) : Tensor()};
}

double FluxValidation::loss(const FluxObjective& objective) const {
  const int64_t samples = std::min(shard_->samples(), kMostSamples);
  double sum = 0;
  for (int64_t row = 0; row < samples; ++row) {
    FluxBatch batch;
    batch.latents = shard_->rows(0, {row});
    for (size_t i = 0; i < std::size(kTimes); ++i) {
      batch.noise = validation_noise(row, static_cast<int64_t>(i) + 1, batch.latents.clean.sizes());
      batch.t = at::full({1}, kTimes[i], at::kFloat);
      batch.z = (1 - kTimes[i]) * batch.latents.clean + kTimes[i] * batch.noise;
      batch.target = batch.noise - batch.latents.clean;
      sum += objective.loss(batch).item<double>();
    }
  }
  return sum / static_cast<double>(samples * static_cast<int64_t>(std::size(kTimes)));
}

Tensor FluxValidation::grid(const FluxObjective& objective) const {
  const auto sampler = flow::samplers().make("euler");
  std::vector<Tensor> rows;
  for (int64_t row = 0; row < std::min(shard_->samples(), kMostRows); ++row) {
    const Latents latents = shard_->rows(0, {row});
    const double mu = flow::resolution_mu(static_cast<double>(latents.clean.size(2) * latents.clean.size(3)) / 4);
    const auto sigmas = flow::shift_sigmas(flow::linear_sigmas(static_cast<int>(options_.validation_steps)), mu);
    const flow::VelocityFn velocity = [&](const Tensor& z, double t) {
      return objective.velocity(latents, z, at::full({1}, t, at::kFloat)).to(at::kCPU);
    };
    const Tensor restored = flow::denoise(velocity, validation_noise(row, 0, latents.clean.sizes()), sigmas, *sampler);
    std::vector<Tensor> pictures;
    for (const Tensor& latent : {latents.clean, restored, latents.condition.select(1, 0)})
      pictures.push_back(autoencoder_->decode(latent.to(device_)).to(at::kCPU, at::kFloat).clamp(0, 1));
    std::swap(pictures.front(), pictures.back());  // poor | restored | good
    for (Tensor& picture : pictures) picture = sized(picture, pictures.back());
    rows.push_back(at::cat(pictures, 3).squeeze(0));  // [3, H, 3 W]
  }
  return at::cat(rows, 1);
}

}  // namespace resflow::train
