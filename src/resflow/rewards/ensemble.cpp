#include "resflow/rewards/ensemble.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace resflow::rewards {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<double> finite(std::span<const double> scores) {
  std::vector<double> out;
  for (const double s : scores)
    if (!std::isnan(s)) out.push_back(s);
  return out;
}

double median(std::vector<double> values) {
  if (values.empty()) return kNan;
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// What cannot be judged counts as the worst of the group.
std::vector<double> zscores(std::span<const double> scores) {
  const auto known = finite(scores);
  const double n = static_cast<double>(known.size()), mean = std::accumulate(known.begin(), known.end(), 0.0) / n;
  double square = 0;
  for (const double s : known) square += (s - mean) * (s - mean);
  const double deviation = std::sqrt(square / n), worst = *std::min_element(known.begin(), known.end());
  std::vector<double> out;
  for (const double s : scores) out.push_back(deviation > 0 ? ((std::isnan(s) ? worst : s) - mean) / deviation : 0);
  return out;
}

std::vector<double> one_voice(std::span<const double> scores, Fusion fusion) {
  if (fusion == Fusion::zscore) return zscores(scores);
  std::vector<double> out(scores.begin(), scores.end());
  if (fusion == Fusion::sum) {
    const auto known = finite(scores);
    for (double& s : out)
      if (std::isnan(s)) s = *std::min_element(known.begin(), known.end());
    return out;
  }
  out = ranks(scores);
  const double last = std::max(1.0, static_cast<double>(scores.size()) - 1);
  for (double& r : out) r = -r / last;
  return out;
}

}  // namespace

std::vector<double> score_images(const Judge& judge, const Tensor& images) {
  const auto values = [&](const Tensor& batch) {
    const Tensor scores = judge.score(batch).to(at::kCPU, at::kDouble).contiguous();
    check_shape(scores, std::to_string(batch.size(0)), judge.name);
    std::vector<double> out(scores.const_data_ptr<double>(), scores.const_data_ptr<double>() + scores.numel());
    for (double& s : out)
      if (!std::isfinite(s)) s = kNan;
    return out;
  };
  try {
    return values(images);
  } catch (const UserError&) {
  }
  std::vector<double> out;
  for (int64_t i = 0; i < images.size(0); ++i) {
    try {
      out.push_back(values(images.narrow(0, i, 1)).front());
    } catch (const UserError&) {
      out.push_back(kNan);
    }
  }
  return out;
}

std::vector<std::string> fusion_names() { return {"rank", "zscore", "sum"}; }

Fusion fusion_named(const std::string& name) {
  if (name == "rank") return Fusion::rank;
  if (name == "zscore") return Fusion::zscore;
  if (name == "sum") return Fusion::sum;
  throw_unknown_name("fusion", name, fusion_names());
}

std::vector<double> ranks(std::span<const double> scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto value = [&](size_t i) { return std::isnan(scores[i]) ? -std::numeric_limits<double>::infinity() : scores[i]; };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return value(a) > value(b); });
  std::vector<double> out(scores.size());
  for (size_t i = 0; i < order.size();) {
    size_t end = i + 1;
    while (end < order.size() && value(order[end]) == value(order[i])) ++end;
    for (size_t k = i; k < end; ++k) out[order[k]] = static_cast<double>(i + end - 1) / 2;
    i = end;
  }
  return out;
}

Fused fuse(const std::vector<std::vector<double>>& scores, std::span<const Judge> judges, Fusion fusion, std::span<const int64_t> parents) {
  TORCH_CHECK(scores.size() == judges.size() && !judges.empty(), "fuse: one row of scores a judge");
  const size_t n = scores.front().size();
  Fused out{.score = std::vector<double>(n, 0.0), .gated = std::vector<bool>(n, false)};
  double total = 0;
  for (size_t j = 0; j < judges.size(); ++j) {
    if (finite(scores[j]).empty()) continue;
    if (judges[j].weight > 0) {
      const auto voice = one_voice(scores[j], fusion);
      for (size_t i = 0; i < n; ++i) out.score[i] += judges[j].weight * voice[i];
      total += judges[j].weight;
    }
    if (judges[j].gate < 0) continue;
    const double middle = median(finite(scores[j]));
    for (size_t i = 0; i < n; ++i) {
      const int64_t parent = parents.empty() ? -1 : parents[i];
      const double against = parent < 0 ? middle : scores[j][static_cast<size_t>(parent)];
      if (parent != static_cast<int64_t>(i) && !std::isnan(against) && !(scores[j][i] >= against - judges[j].gate)) out.gated[i] = true;
    }
  }
  if (fusion != Fusion::sum && total > 0)
    for (double& s : out.score) s /= total;
  if (std::find(out.gated.begin(), out.gated.end(), false) == out.gated.end()) out.gated.assign(n, false);
  return out;
}

}  // namespace resflow::rewards
