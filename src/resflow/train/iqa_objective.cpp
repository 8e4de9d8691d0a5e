#include "resflow/train/iqa_objective.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "resflow/flow/denoise.h"
#include "resflow/flow/schedule.h"
#include "resflow/weights/load.h"

namespace resflow::train {
namespace {

constexpr int64_t kSiblings = 8;      // of a validation picture
constexpr double kOrderScale = 50;    // siblings differ by some hundredths: a difference of 1 / kOrderScale counts as clear
constexpr double kOrderWeight = 0.5;  // of the loss of order beside the distance's

rewards::FeatureDistance load_features(const TrainOptions& options, c10::Device device) {
  if (options.feature_network.empty())
    throw_user_error({.where = "train", .problem = "task iqa needs `feature_network`", .wanted = "the network whose distance is learnt"});
  auto features = rewards::FeatureDistance::load(options.feature_network);
  features.to(device);
  return features;
}

void load_part(nn::Module& module, const std::string& path, const std::string& part, c10::Device device) {
  if (path.empty()) throw_user_error({.where = "train", .problem = "task iqa needs `remover` and `flow`", .wanted = "weights of both, trained"});
  weights::load_strict(module, weights::TensorFile::open(path), part + ".", {.dtype = at::kFloat, .device = device});
}

// As it would be written to a file.
Tensor stored(const Tensor& image) { return image.clamp(0, 1).mul(255).round().div(255); }

}  // namespace

IqaObjective::IqaObjective(const TrainOptions& options, c10::Device device)
    : options_(options), remover_(options.model), flow_(options.model), features_(load_features(options, device)) {
  if (options.validation_sigma_s.empty())
    throw_user_error({.where = "train", .problem = "task iqa needs `validation_sigma_s`", .wanted = "the start noise of validation's siblings"});
  load_part(remover_, options.remover, "dr", device);
  load_part(flow_, options.flow, "flow", device);
}

Tensor IqaObjective::sample(const models::CompactRemover::Output& removed, const models::CompactCondition& condition, double sigma_s, int64_t steps,
                            const Stream& stream) const {
  const auto options = removed.reference.options();
  const Tensor noise = normal_like_shape(stream, removed.reference.sizes()) + flow_.shared_noise(stream);
  const Tensor level = at::full({1}, sigma_s, options);
  const flow::VelocityFn velocity = [&](const Tensor& z, double t) { return flow_.velocity(z, at::full({1}, t, options), level, condition); };
  const auto sigmas = flow::shift_sigmas(flow::linear_sigmas(static_cast<int>(steps)), flow_.time_shift(sigma_s));
  return stored(flow::denoise(velocity, removed.reference + sigma_s * noise.to(options.device()), sigmas, *flow::samplers().make("euler")));
}

Loss IqaObjective::loss(const Batch& part, int64_t first_index) const {
  const int64_t count = part.clean.size(0);
  std::vector<Tensor> pictures, clean;  // four a crop
  Tensor distance;
  {
    at::NoGradGuard no_grad;
    for (int64_t i = 0; i < count; ++i) {
      Stream draw(static_cast<uint64_t>(options_.seed), "train.iqa", static_cast<uint64_t>(first_index + i));
      const Tensor degraded = part.degraded.narrow(0, i, 1), truth = part.clean.narrow(0, i, 1);
      const auto removed = remover_.forward(degraded);
      const auto condition = flow_.prepare(degraded, removed);
      const double sigma_s = options_.sigma_s_low * std::pow(options_.sigma_s_high / options_.sigma_s_low, draw.uniform());
      const int64_t steps = draw.integer(1, options_.validation_steps);
      for (const uint64_t sibling : {0, 1}) pictures.push_back(sample(removed, condition, sigma_s, steps, draw.child("sibling", sibling)));
      pictures.push_back(stored(draw.chance(0.7) ? removed.reference : degraded));
      pictures.push_back(stored(pictures[pictures.size() - 3].lerp(truth, draw.uniform())));
      for (int k = 0; k < 4; ++k) clean.push_back(truth);
    }
    distance = features_.distance(at::cat(pictures), at::cat(clean)).to(at::kFloat);  // [4 count]
  }
  const Tensor estimate = network_.forward(at::cat(pictures));
  const Tensor error = (estimate - distance).abs().mean();
  const auto gap = [&](const Tensor& values) {  // of the two siblings -> [count]
    const Tensor table = values.view({count, 4});
    return table.select(1, 0) - table.select(1, 1);
  };
  const Tensor truth = gap(distance), wrong = at::softplus(-kOrderScale * truth.sign() * gap(estimate));
  const Tensor order = (wrong * (kOrderScale * truth.abs()).clamp_max(1)).mean();
  return {.total = error + kOrderWeight * order,
          .terms = {{"distance", error.detach()}, {"order", order.detach()}, {"in_order", (gap(estimate) * truth > 0).to(at::kFloat).mean()}},
          .pattern = {}};
}

std::vector<std::pair<std::string, Tensor>> IqaObjective::restore(const Tensor& degraded, int64_t) const {
  return {{"remover", remover_.forward(degraded).reference}};
}

std::optional<Objective::Judged> IqaObjective::judge(const Tensor& degraded, int64_t index) const {
  const auto removed = remover_.forward(degraded);
  const auto condition = flow_.prepare(degraded, removed);
  const Stream stream(48, "validation.siblings", static_cast<uint64_t>(index));
  std::vector<Tensor> images;
  for (int64_t i = 0; i < kSiblings; ++i)
    images.push_back(
        sample(removed, condition, options_.validation_sigma_s.back(), options_.validation_steps, stream.child("seed", static_cast<uint64_t>(i))));
  const Tensor siblings = at::cat(images);
  return Judged{siblings, -network_.forward(siblings)};
}

}  // namespace resflow::train
