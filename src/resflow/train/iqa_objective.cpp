#include "resflow/train/iqa_objective.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "resflow/flow/denoise.h"
#include "resflow/flow/schedule.h"
#include "resflow/train/noise.h"
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
                            const std::vector<Stream>& streams) const {
  const auto options = removed.reference.options();
  const auto all = [&](double value) { return at::full({removed.reference.size(0)}, value, options); };
  const flow::VelocityFn velocity = [&](const Tensor& z, double t) { return flow_.velocity(z, all(t), all(sigma_s), condition); };
  const auto sigmas = flow::shift_sigmas(flow::linear_sigmas(static_cast<int>(steps)), flow_.time_shift(sigma_s));
  const Tensor start = removed.reference + sigma_s * start_noises(flow_, streams, removed.reference);
  return stored(flow::denoise(velocity, start, sigmas, *flow::samplers().make("euler")));
}

Loss IqaObjective::loss(const Batch& part, int64_t first_index) const {
  const int64_t count = part.clean.size(0);
  Tensor pictures, distance;  // four a crop: [4 count, 3, H, W], [4 count]
  {
    at::NoGradGuard no_grad;
    // A batch has one start noise and number of steps, in whatever parts it is worked at.
    const int64_t before = first_index % options_.batch;  // samples of the batch before this part's
    Stream draw(static_cast<uint64_t>(options_.seed), "train.iqa", static_cast<uint64_t>(first_index - before));
    const double sigma_s = options_.sigma_s_low * std::pow(options_.sigma_s_high / options_.sigma_s_low, draw.uniform());
    const int64_t steps = draw.integer(1, options_.validation_steps);
    const auto removed = remover_.forward(part.degraded);
    const auto condition = flow_.prepare(part.degraded, removed);
    std::vector<Tensor> made;
    for (const uint64_t sibling : {0, 1}) {
      std::vector<Stream> streams;
      for (int64_t i = 0; i < count; ++i) streams.push_back(draw.child("sibling", 2 * static_cast<uint64_t>(before + i) + sibling));
      made.push_back(sample(removed, condition, sigma_s, steps, streams));
    }
    std::vector<float> plain, share;
    for (int64_t i = 0; i < before + count; ++i) {
      plain.push_back(draw.chance(0.3) ? 1 : 0);
      share.push_back(static_cast<float>(draw.uniform()));
    }
    const auto each = [&](const std::vector<float>& values) {
      return at::tensor(values).narrow(0, before, count).to(part.clean.device()).view({-1, 1, 1, 1});
    };
    made.push_back(stored(at::where(each(plain) > 0, part.degraded, removed.reference)));
    made.push_back(stored(made[0].lerp(part.clean, each(share))));
    pictures = at::cat(made);
    distance = features_.distance(pictures, part.clean.repeat({4, 1, 1, 1})).to(at::kFloat);
  }
  const Tensor estimate = network_.forward(pictures);
  const Tensor error = (estimate - distance).abs().mean();
  const auto gap = [&](const Tensor& values) {
    return values.narrow(0, 0, count) - values.narrow(0, count, count);
  };  // of the two siblings -> [count]
  const Tensor truth = gap(distance), wrong = at::softplus(-kOrderScale * truth.sign() * gap(estimate));
  const Tensor order = (wrong * (kOrderScale * truth.abs()).clamp_max(1)).mean();
  return {.total = error + kOrderWeight * order,
          .terms = {{"distance", error.detach()}, {"order", order.detach()}, {"in_order", (gap(estimate) * truth > 0).to(at::kFloat).mean()}},
          .pattern = {}};
}

std::vector<std::pair<std::string, Tensor>> IqaObjective::restore(const Tensor& degraded, const Tensor&, const Tensor&, int64_t) const {
  return {{"remover", remover_.forward(degraded).reference}};
}

std::optional<Objective::Judged> IqaObjective::judge(const Tensor& degraded, int64_t index) const {
  const auto removed = remover_.forward(degraded);
  const auto condition = flow_.prepare(degraded, removed);
  const Stream stream(48, "validation.siblings", static_cast<uint64_t>(index));
  std::vector<Tensor> images;
  for (int64_t i = 0; i < kSiblings; ++i)
    images.push_back(
        sample(removed, condition, options_.validation_sigma_s.back(), options_.validation_steps, {stream.child("seed", static_cast<uint64_t>(i))}));
  const Tensor siblings = at::cat(images);
  return Judged{siblings, -network_.forward(siblings)};
}

}  // namespace resflow::train
