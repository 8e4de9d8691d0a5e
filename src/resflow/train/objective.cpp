#include "resflow/train/objective.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>

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

Tensor feature_loss(const rewards::FeatureDistance& network, const Tensor& image, const Tensor& clean) {
  std::vector<Tensor> target;
  {
    at::NoGradGuard no_grad;
    target = network.features(clean);
  }
  return network.distance_to(image, target);  // [B]
}

// L1 or L2, plus the feature distance where asked: PSNR-oriented.
class RemoverObjective final : public Objective {
 public:
  RemoverObjective(const TrainOptions& options, c10::Device device)
      : options_(options), module_(options.model), features_(feature_network(options, device)) {}
  nn::Module& module() override { return module_; }
  std::string part() const override { return "dr"; }

  Loss loss(const Batch& part, int64_t) const override {
    const Tensor restored = module_.forward(part.degraded).reference;
    Loss out;
    const bool squared = options_.pixel_loss == "l2";
    out.total = squared ? at::mse_loss(restored, part.clean) : at::l1_loss(restored, part.clean);
    out.terms.emplace_back(options_.pixel_loss, out.total.detach());
    if (features_ != nullptr) {
      const Tensor distance = feature_loss(*features_, restored, part.clean).mean();
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

// Velocity loss on an x0-prediction, plus the feature distance of x0, which fades as
// sigma_s grows: there the estimate must stay the mean, or the flow loses its diversity.
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
    std::vector<double> times, sigmas;
    std::vector<Tensor> noises;
    for (int64_t i = 0; i < count; ++i) {
      Stream draw(static_cast<uint64_t>(options_.seed), "train.flow", static_cast<uint64_t>(first_index + i));
      times.push_back(draw.chance(options_.noiseless) ? 1.0 : draw.uniform(0.02, 1.0));
      const double along = draw.chance(options_.faithful) ? 0 : draw.uniform();
      sigmas.push_back(options_.sigma_s_low * std::pow(options_.sigma_s_high / options_.sigma_s_low, along));
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

    // |velocity error|^2 = |x0 error|^2 / t^2.
    const Tensor flow = ((x0 - clean).square().mean({1, 2, 3}) * module_.loss_weight(t)).mean();
    Loss out{flow, {{"velocity", flow.detach()}}};
    if (features_ != nullptr) {
      const Tensor fade = at::clamp_max(options_.feature_sigma_s / sigma_s, 1.0);
      const Tensor distance = feature_loss(*features_, x0, clean);
      out.terms.emplace_back("feature", distance.detach().mean());
      out.total = out.total + options_.feature_weight * (distance * fade).mean();
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
      const auto sigmas = flow::linear_sigmas(static_cast<int>(options_.validation_steps));
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
