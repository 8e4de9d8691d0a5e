// Zero-order search over the start noise (Ma et al., 2501.09732; step as in tt-scale-flux): a pivot and its neighbours
// y = |x| (sqrt(1 - rho^2) u + rho w), u = x / |x|, w a unit vector at right angles to u, all sampled to the end; the best neighbour becomes the
// pivot if it beats it. NFE: T + K (N - 1) T.
#include <ATen/ATen.h>

#include <cmath>

#include "resflow/search/strategy.h"

namespace resflow::search {
namespace {

Tensor neighbour(const Tensor& noise, const Tensor& direction, double rho) {
  const Tensor length = noise.norm(), u = noise / length;
  const Tensor across = direction - (direction * u).sum() * u;
  return length * (std::sqrt(1 - rho * rho) * u + rho * across / across.norm());
}

class ZeroOrder final : public Strategy {
 public:
  void search(Run& run) const override {
    const auto& o = run.options();
    const double each = run.calls_to_finish(0);
    run.expect(each * (1 + static_cast<double>(o.rounds * (o.candidates - 1))));
    Group first{run.start(0)};
    run.finish(first);
    Candidate pivot = first.front();
    for (int64_t round = 1; round <= o.rounds; ++round) {
      Group group;
      while (static_cast<int64_t>(group.size()) < o.candidates - 1 && run.affords(static_cast<double>(group.size() + 1) * each)) {
        group.push_back(run.start_from(neighbour(pivot.noise, run.fresh_noise(), o.rho)));
        group.back().parent = pivot.id;
        group.back().rho = o.rho;
      }
      if (group.empty()) return;
      run.finish(group, round);
      const Candidate best = run.select(group, 1, round).front();
      if (!o.elitism || run.beats(best, pivot)) pivot = best;
    }
  }
};

}  // namespace

Entry<Strategy> strategy_zero_order() { return entry<Strategy, ZeroOrder>("zero-order", "A start noise and its neighbours, step by step uphill"); }

}  // namespace resflow::search
