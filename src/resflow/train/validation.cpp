#include "resflow/train/validation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "resflow/rewards/metric.h"

namespace resflow::train {
namespace {
constexpr size_t kGridRows = 6;

// What choosing by the scores is worth: the feature distance of the average, the chosen and the best result, and the rank correlation (Spearman) of
// the scores with it. Sums over pictures.
void add_choice(const Objective::Judged& judged, const Tensor& clean, const rewards::FeatureDistance& network, Json& sums) {
  std::vector<double> distances;
  for (int64_t i = 0; i < judged.images.size(0); ++i) distances.push_back(network.distance(judged.images.narrow(0, i, 1), clean).item<double>());
  const Tensor distance = at::tensor(distances, at::kDouble), score = judged.scores.to(at::kCPU, at::kDouble);
  const auto ranks = [](const Tensor& values) {
    const Tensor order = values.argsort().argsort().to(at::kDouble);
    return order - order.mean();
  };
  const Tensor a = ranks(score), b = ranks(-distance);
  if (sums.is_null()) sums = {{"mean", 0.0}, {"chosen", 0.0}, {"best", 0.0}, {"rank_correlation", 0.0}};
  const auto add = [&](const char* key, const Tensor& value) { sums[key] = sums[key].get<double>() + value.item<double>(); };
  add("mean", distance.mean());
  add("chosen", distance[score.argmax().item<int64_t>()]);
  add("best", distance.min());
  add("rank_correlation", (a * b).sum() / at::sqrt(a.square().sum() * b.square().sum()));
}

}  // namespace

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
    const Tensor taught = pairs_[i].taught.defined() ? pairs_[i].taught.unsqueeze(0).to(device_) : Tensor();
    auto candidates = objective.restore(degraded.to(device_), taught, pairs_[i].words.unsqueeze(0).to(device_), static_cast<int64_t>(i));
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
    if (const auto judged = objective.judge(degraded.to(device_), static_cast<int64_t>(i)); judged && network_ != nullptr)
      add_choice(*judged, clean.to(device_), *network_, result.scores["choice"]);
    if (rows.size() < kGridRows && (rows.empty() || at::cat(row, 2).sizes() == rows[0].sizes())) rows.push_back(at::cat(row, 2));
  }
  if (result.scores.contains("choice"))
    for (auto& [key, value] : result.scores["choice"].items()) value = value.get<double>() / static_cast<double>(pairs_.size());
  if (!rows.empty()) result.grid = at::cat(rows, 1);
  return result;
}

}  // namespace resflow::train
