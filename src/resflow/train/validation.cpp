#include "resflow/train/validation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "resflow/rewards/metric.h"

namespace resflow::train {
namespace {
constexpr size_t kGridRows = 6;
}

Validation::Validation(const TrainOptions& options, c10::Device device) : pairs_(validation_pairs(options)), device_(device) {
  if (options.validation_network.empty()) return;
  network_ = std::make_shared<rewards::FeatureDistance>(rewards::FeatureDistance::load(options.validation_network));
  network_->to(device);
}

Validation::Result Validation::run(const Objective& objective) const {
  at::NoGradGuard no_grad;
  const auto psnr = rewards::metrics().make("psnr"), ssim = rewards::metrics().make("ssim");
  Result result{.scores = Json::object(), .grid = {}};
  std::vector<Tensor> rows;
  for (size_t i = 0; i < pairs_.size(); ++i) {
    const Tensor clean = pairs_[i].clean.unsqueeze(0), degraded = pairs_[i].degraded.unsqueeze(0);  // [1, 3, H, W]
    auto candidates = objective.restore(degraded.to(device_), static_cast<int64_t>(i));
    candidates.insert(candidates.begin(), {"bicubic", degraded});
    std::vector<Tensor> row;
    for (auto& [name, image] : candidates) {
      image = image.to(at::kCPU, at::kFloat).clamp(0, 1).mul(255).round().div(255);
      auto& scores = result.scores[name.empty() ? "restored" : name];
      if (scores.is_null()) scores = Json::object();
      const auto add = [&](const char* key, double value) { scores[key] = scores.value(key, 0.0) + value / static_cast<double>(pairs_.size()); };
      add("psnr", psnr->score(image, clean));
      add("ssim", ssim->score(image, clean));
      if (network_ != nullptr) add("feature", network_->distance(image.to(device_), clean.to(device_)).item<double>());
      row.push_back(image.squeeze(0));
    }
    row.push_back(clean.squeeze(0));
    if (rows.size() < kGridRows && (rows.empty() || at::cat(row, 2).sizes() == rows[0].sizes())) rows.push_back(at::cat(row, 2));
  }
  if (!rows.empty()) result.grid = at::cat(rows, 1);
  return result;
}

}  // namespace resflow::train
