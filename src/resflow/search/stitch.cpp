// The winner put together from the finished candidates, region by region.
//
// A whole picture is judged by sums over its parts, and what makes one candidate better in the sky says nothing of its grass: choosing each region by
// itself among N draws as from far more than N pictures, and asks the model nothing.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "resflow/search/regions.h"
#include "resflow/search/run.h"

namespace resflow::search {
namespace {

constexpr size_t kBatch = 8;  // mixtures judged at once; their size is that of pictures, not of a model's memory

using Choice = std::vector<int64_t>;

// Judges mixtures of some pictures, in units of what one region's change does.
class Mixer {
 public:
  // over: no more of them shall be judged.
  Mixer(Tensor images, const std::vector<rewards::Judge>& judges, Choice base, std::function<bool()> over)
      : images_(std::move(images)), judges_(judges), over_(std::move(over)), held_(std::move(base)), start_(score({held_}).front()), now_(start_) {}

  // Every region's change by itself gives the scales; then each region in turn takes what serves the whole best.
  Choice climb() {
    std::vector<std::vector<double>> all;
    for (size_t r = 0; r < held_.size() && !over_(); ++r) {
      const auto scores = score(changes(r));
      all.insert(all.end(), scores.begin(), scores.end());
    }
    set_scales(all);
    for (size_t r = 0; r < held_.size() && !over_(); ++r) {
      const auto options = changes(r);
      const auto judged = score(options);
      size_t best = options.size();
      double most = 0;
      for (size_t k = 0; k < options.size(); ++k)
        if (const double gain = gain_of(judged[k]); gain > most) most = gain, best = k;
      if (best < options.size()) held_ = options[best], now_ = judged[best];
    }
    return held_;
  }

 private:
  // What is held, with another picture's part in one region.
  std::vector<Choice> changes(size_t region) const {
    std::vector<Choice> out;
    for (int64_t i = 0; i < images_.size(0); ++i) {
      if (i == held_[region]) continue;
      out.push_back(held_);
      out.back()[region] = i;
    }
    return out;
  }

  // A judge's scale: the root mean square of what the changes do. 0: it sees none.
  void set_scales(const std::vector<std::vector<double>>& scores) {
    for (size_t j = 0; j < judges_.size(); ++j) {
      double squares = 0, count = 0;
      for (const auto& s : scores) {
        const double change = s[j] - start_[j];
        if (!std::isfinite(change)) continue;
        squares += change * change;
        ++count;
      }
      scales_.push_back(count > 0 ? std::sqrt(squares / count) : 0);
    }
  }

  // [mixture][judge]
  std::vector<std::vector<double>> score(const std::vector<Choice>& choices) const {
    std::vector<std::vector<double>> out;
    for (size_t begin = 0; begin < choices.size(); begin += kBatch) {
      std::vector<Tensor> mixed;
      for (size_t i = begin; i < std::min(choices.size(), begin + kBatch); ++i) mixed.push_back(mixture(images_, choices[i]));
      std::vector<std::vector<double>> scores(mixed.size());
      for (const auto& judge : judges_) {
        const auto each = rewards::score_images(judge, at::cat(mixed));
        for (size_t i = 0; i < mixed.size(); ++i) scores[i].push_back(each[i]);
      }
      out.insert(out.end(), scores.begin(), scores.end());
    }
    return out;
  }

  // Over what is held; not above 0 where a gate or a judge that cannot tell forbids it.
  double gain_of(const std::vector<double>& scores) const {
    double out = 0;
    for (size_t j = 0; j < judges_.size(); ++j) {
      const auto& judge = judges_[j];
      if (judge.gate >= 0 && std::isfinite(start_[j]) && !(scores[j] >= start_[j] - judge.gate)) return 0;
      if (judge.weight == 0 || scales_[j] == 0 || !std::isfinite(now_[j])) continue;
      if (!std::isfinite(scores[j])) return 0;
      out += judge.weight * (scores[j] - now_[j]) / scales_[j];
    }
    return out;
  }

  Tensor images_;
  const std::vector<rewards::Judge>& judges_;
  std::function<bool()> over_;
  Choice held_;
  std::vector<double> start_, now_, scales_;
};

}  // namespace

void Run::stitch(int64_t regions) {
  if (finished_.size() < 2 || regions < 2 || problem_.judges.empty() || over()) return;
  fuse(finished_);
  const auto sorted = order(finished_);
  std::vector<Tensor> parts, images;
  for (const auto& c : finished_) {
    if (c.z.dim() != 4) return;
    parts.push_back(c.z);
    images.push_back(problem_.decode ? problem_.decode(c.z) : c.z);
  }
  const auto best = static_cast<int64_t>(sorted.front());
  const Choice base(static_cast<size_t>(regions * regions), best);
  const auto choice = Mixer(in_tones_of(at::cat(images), best, regions), problem_.judges, base, [this] { return over(); }).climb();
  if (choice == base) return;
  const auto& parent = finished_[sorted.front()];
  Candidate mixed{.parent = parent.id,
                  .kind = "mixed",
                  .step = steps(),
                  .sigma = 0,
                  .z = mixture(in_tones_of(at::cat(parts), best, regions), choice),
                  .noise = parent.noise};
  mixed.x0 = mixed.z;
  Group group{mixed};
  int64_t last = 0;
  for (const auto& c : trace_.candidates) last = std::max(last, c.round);
  judge(group, last + 1);
  auto& parts_of = trace_.candidates[static_cast<size_t>(group.front().id)].parts;
  for (const int64_t i : choice) parts_of.push_back(finished_[static_cast<size_t>(i)].id);
  add_finished(group.front());
}

}  // namespace resflow::search
