#include "resflow/train/objective.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "resflow/core/device.h"
#include "resflow/flow/denoise.h"
#include "resflow/flow/schedule.h"
#include "resflow/weights/load.h"

namespace resflow::train {
namespace {

std::shared_ptr<rewards::FeatureDistance> feature_network(const TrainOptions& options, c10::Device device) {
  if (options.feature_weight == 0) return nullptr;
  if (options.feature_network.empty()) throw_user_error({.where = "train", .problem = "feature_weight is set, feature_network is not"});
  auto network = std::make_shared<rewards::FeatureDistance>(rewards::FeatureDistance::load(options.feature_network));
  network->to(device);
  return network;
}

// Each pair is seen through a window shifted at random: the feature network's strides would otherwise always lie the same over the model's
// 4-px cells, and the model would learn to please them with a pattern of that period. -> [B]
Tensor feature_loss(const rewards::FeatureDistance& network, const Tensor& image, const Tensor& clean, uint64_t seed,
                    const std::vector<int64_t>& indices) {
  constexpr int64_t kShifts = 8;
  const int64_t height = image.size(2) - kShifts + 1, width = image.size(3) - kShifts + 1;
  std::vector<Tensor> images, targets;
  for (int64_t i = 0; i < image.size(0); ++i) {
    Stream draw(seed, "train.shift", static_cast<uint64_t>(indices[static_cast<size_t>(i)]));
    const int64_t y = draw.integer(0, kShifts - 1), x = draw.integer(0, kShifts - 1);
    images.push_back(image[i].narrow(1, y, height).narrow(2, x, width));
    targets.push_back(clean[i].narrow(1, y, height).narrow(2, x, width));
  }
  std::vector<Tensor> target;
  {
    at::NoGradGuard no_grad;
    target = network.features(at::stack(targets));
  }
  return network.distance_to(at::stack(images), target);
}

// What the 16-px cells leave at the same places of every picture, in units of the clean picture's local detail: the square of the mean error
// there, plus how unevenly detail is spread over a cell's columns and rows. A feature loss is pleased by any fine texture, and a fixed pattern is
// the cheapest; this makes it dear. Cells of even and odd rows and columns are looked at apart, or the pattern would alternate; the square is
// estimated without the part of what does not repeat (pairs of different cells). Never below 0: patterns of opposite signs would pay without end.
// image, clean [B, 3, H, W]; H, W multiples of 32, 64 or more.
Tensor lattice_loss(const Tensor& image, const Tensor& clean) {
  constexpr int64_t kCell = models::CompactFlow::kMultiple, kFine = 5, kLocal = 17;
  const auto blur = [](const Tensor& x, int64_t side) { return at::avg_pool2d(x, {side, side}, {1, 1}, {side / 2, side / 2}, false, false); };
  const auto fine = [&](const Tensor& x) { return x - blur(x, kFine); };
  const Tensor detail = fine(clean);
  const Tensor local = blur(detail.square(), kLocal).mean(1, true).sqrt() + 0.01;
  const Tensor shown = fine(image);
  const int64_t count = image.size(0), rows = image.size(2) / kCell / 2, columns = image.size(3) / kCell / 2;
  const Tensor cells = ((shown - detail) / local).clamp(-4, 4).reshape({count, 3, rows, 2, kCell, columns, 2, kCell});
  const double n = static_cast<double>(count * rows * columns);
  const Tensor sum = cells.sum({0, 2, 5}), squares = cells.square().sum({0, 2, 5});  // [3, 2, 16, 2, 16]
  const Tensor repeated = ((sum.square() - squares) / (n * (n - 1))).mean().clamp_min(0);

  const Tensor size = (shown / local).abs().clamp_max(4).reshape({count, 3, 2 * rows, kCell, 2 * columns, kCell});
  const auto uneven = [](const Tensor& phases) { return (phases / phases.mean() - 1).square().mean(); };
  return repeated + uneven(size.mean({0, 1, 2, 3, 4})) + uneven(size.mean({0, 1, 2, 4, 5}));
}

// L1 or L2, plus the feature distance where asked: PSNR-oriented.
class RemoverObjective final : public Objective {
 public:
  RemoverObjective(const TrainOptions& options, c10::Device device)
      : options_(options), module_(options.model), features_(feature_network(options, device)) {}
  nn::Module& module() override { return module_; }
  std::string part() const override { return "dr"; }

  Loss loss(const Batch& part, int64_t first_index) const override {
    const Tensor restored = module_.forward(part.degraded).reference;
    Loss out;
    const bool squared = options_.pixel_loss == "l2";
    out.total = squared ? at::mse_loss(restored, part.clean) : at::l1_loss(restored, part.clean);
    out.terms.emplace_back(options_.pixel_loss, out.total.detach());
    if (features_ != nullptr) {
      std::vector<int64_t> indices(static_cast<size_t>(restored.size(0)));
      std::iota(indices.begin(), indices.end(), first_index);
      const Tensor distance = feature_loss(*features_, restored, part.clean, static_cast<uint64_t>(options_.seed), indices).mean();
      out.terms.emplace_back("feature", distance.detach());
      out.total = out.total + options_.feature_weight * distance;
    }
    return out;
  }

  std::vector<std::pair<std::string, Tensor>> restore(const Tensor& degraded, int64_t) const override {
    return {{"", module_.forward(degraded).reference}};
  }

 private:
  TrainOptions options_;
  models::CompactRemover module_;
  std::shared_ptr<rewards::FeatureDistance> features_;
};

// Velocity loss on an x0-prediction, plus the feature distance of x0, which fades as the noise of z grows: there the estimate must stay the mean,
// or the flow loses its diversity.
class FlowObjective final : public Objective {
 public:
  FlowObjective(const TrainOptions& options, c10::Device device)
      : options_(options), remover_(options.model), module_(options.model), features_(feature_network(options, device)) {
    if (options.remover.empty())
      throw_user_error({.where = "train", .problem = "task flow needs `remover`", .wanted = "weights of a trained remover"});
    weights::load_strict(remover_, weights::TensorFile::open(options.remover), "dr.", {.dtype = at::kFloat, .device = device});
  }
  nn::Module& module() override { return module_; }
  std::string part() const override { return "flow"; }

  Loss loss(const Batch& part, int64_t first_index) const override {
    const Tensor& clean = part.clean;
    const auto options = clean.options();
    const int64_t count = clean.size(0);
    const auto seed = static_cast<uint64_t>(options_.seed);
    std::vector<double> times, sigmas;
    std::vector<Tensor> noises;
    for (int64_t i = 0; i < count; ++i) {
      Stream draw(seed, "train.flow", static_cast<uint64_t>(first_index + i));
      const bool faithful = draw.chance(options_.faithful);
      const bool at_start = faithful || draw.chance(options_.noiseless);
      const double along = faithful ? 0 : draw.uniform();
      sigmas.push_back(options_.sigma_s_low * std::pow(options_.sigma_s_high / options_.sigma_s_low, along));
      times.push_back(at_start ? 1.0 : flow::shift_sigmas({draw.uniform(0.02, 1.0)}, module_.time_shift(sigmas.back()))[0]);
      noises.push_back(normal_like_shape(draw.child("noise"), clean.sizes().slice(1)));
    }
    const Tensor t = at::tensor(times, options), sigma_s = at::tensor(sigmas, options);  // [B]
    const auto wide = [](const Tensor& v) { return v.view({-1, 1, 1, 1}); };

    models::CompactRemover::Output removed;
    {
      at::NoGradGuard no_grad;
      removed = remover_.forward(part.degraded);
    }
    const Tensor start = removed.reference + wide(sigma_s) * at::stack(noises).to(clean.device());
    const Tensor z = (1 - wide(t)) * clean + wide(t) * start;
    const Tensor x0 = module_.predict_x0(z, t, sigma_s, module_.prepare(part.degraded, removed));  // [B, 3, H, W]

    const Tensor flow = ((x0 - clean).square().mean({1, 2, 3}) * module_.loss_weight(t, sigma_s)).mean();
    Loss out{flow, {{"velocity", flow.detach()}}};
    if (features_ != nullptr) {
      // Where it has faded below a half it is not worth its time.
      Tensor sum = at::zeros({}, options);
      std::vector<int64_t> seen, indices;
      std::vector<double> fade;
      for (int64_t i = 0; i < count; ++i) {
        const double noise = times[static_cast<size_t>(i)] * sigmas[static_cast<size_t>(i)];
        const double weight = std::min(1.0, options_.feature_sigma_s / noise);
        if (weight < 0.5) continue;
        seen.push_back(i);
        indices.push_back(first_index + i);
        fade.push_back(weight);
      }
      if (!seen.empty()) {
        const Tensor places = at::tensor(seen, at::TensorOptions().dtype(at::kLong).device(clean.device()));
        const Tensor distance = feature_loss(*features_, x0.index_select(0, places), clean.index_select(0, places), seed, indices);
        sum = (distance * at::tensor(fade, options)).sum() / static_cast<double>(count);
      }
      if (options_.lattice_weight > 0) {
        const Tensor lattice = lattice_loss(x0, clean);
        out.terms.emplace_back("lattice", lattice.detach());
        out.total = out.total + options_.lattice_weight * lattice;
      }
      out.terms.emplace_back("feature", sum.detach());
      out.total = out.total + options_.feature_weight * sum;
    }
    return out;
  }

  std::vector<std::pair<std::string, Tensor>> restore(const Tensor& degraded, int64_t index) const override {
    const auto condition = module_.prepare(degraded, remover_.forward(degraded));
    const Tensor noise = normal_like_shape(Stream(48, "validation.noise", static_cast<uint64_t>(index)), degraded.sizes()).to(degraded.device());
    std::vector<std::pair<std::string, Tensor>> out;
    for (const double sigma : options_.validation_sigma_s) {
      const Tensor sigma_s = at::full({1}, sigma, degraded.options());
      const flow::VelocityFn velocity = [&](const Tensor& z, double t) {
        return module_.velocity(z, at::full({1}, t, z.options()), sigma_s, condition);
      };
      const auto sigmas = flow::shift_sigmas(flow::linear_sigmas(static_cast<int>(options_.validation_steps)), module_.time_shift(sigma));
      out.emplace_back(fmt::format("sigma_s={}", sigma),
                       flow::denoise(velocity, condition.reference + sigma * noise, sigmas, *flow::samplers().make("euler")));
    }
    return out;
  }

 private:
  TrainOptions options_;
  models::CompactRemover remover_;
  models::CompactFlow module_;
  std::shared_ptr<rewards::FeatureDistance> features_;
};

}  // namespace

std::unique_ptr<Objective> make_objective(const TrainOptions& options, c10::Device device) {
  if (options.task == "flow") return std::make_unique<FlowObjective>(options, device);
  return std::make_unique<RemoverObjective>(options, device);
}

}  // namespace resflow::train
