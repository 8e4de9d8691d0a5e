// Search over paths (Ma et al., 2501.09732): N samples are taken down to a low noise level, M of them kept by their clean estimate; each
// round noises them up again (by path_forward, with fresh noise), brings them down (by path_backward) and keeps M of N; in the end all
// M are finished. Levels are the nearest of the sampler's.
//
// NFE: N (calls down + 1) + rounds' N (calls up..down + 1) + M finishing.
#include <algorithm>
#include <cmath>

#include "resflow/search/strategy.h"

namespace resflow::search {
namespace {

// The step whose sigma is nearest, of lowest..steps - 1.
int64_t nearest_step(const Run& run, double sigma, int64_t lowest) {
  int64_t best = std::min(lowest, run.steps() - 1);
  for (int64_t i = best; i < run.steps(); ++i)
    if (std::abs(run.sigma(i) - sigma) < std::abs(run.sigma(best) - sigma)) best = i;
  return best;
}

class Paths final : public Strategy {
 public:
  void search(Run& run) const override {
    const auto& o = run.options();
    const int64_t bottom = nearest_step(run, o.path_start, 1);
    const double down = run.calls_to_reach(0, bottom) + 1;
    run.expect(expected_calls(run, bottom, down));
    int64_t count = o.candidates;
    while (count > 1 && !run.affords(static_cast<double>(count) * down + run.calls_to_finish(bottom))) --count;
    Group beams;
    for (int64_t i = 0; i < count; ++i) beams.push_back(run.start(static_cast<uint64_t>(i)));
    beams = compete(run, std::move(beams), bottom, 0);
    for (int64_t round = 1; round <= o.rounds; ++round) {
      Group group = branch(run, beams);
      if (group.empty()) break;
      beams = compete(run, std::move(group), -1, round);
    }
    std::stable_sort(beams.begin(), beams.end(), [](const Candidate& a, const Candidate& b) { return a.fused > b.fused; });
    run.keep_affordable(beams);
    run.finish(beams, o.rounds + 1);
  }

 private:
  // bottom < 0: they stand where they compete already.
  static Group compete(Run& run, Group group, int64_t bottom, int64_t round) {
    if (bottom >= 0) run.advance_to(group, bottom);
    run.look_ahead(group, 0);
    run.judge(group, round);
    Group beams = run.select(group, run.options().survivors, round);
    run.set_lead(beams.front());
    return beams;
  }

  // Where a parent's children start again, and where they compete.
  struct Excursion {
    int64_t up, bottom;
  };
  static Excursion excursion(const Run& run, const Candidate& parent) {
    const int64_t up = std::min(nearest_step(run, parent.sigma + run.options().path_forward, 1), parent.step);
    return {up, std::max(nearest_step(run, run.sigma(up) - run.options().path_backward, 1), parent.step)};
  }

  // As if no budget cut it short; for the progress report.
  static double expected_calls(const Run& run, int64_t bottom, double down) {
    const auto& o = run.options();
    const int64_t survivors = std::min(o.survivors, o.candidates);
    const auto children = static_cast<double>(o.candidates - (o.elitism ? survivors : 0));
    double calls = static_cast<double>(o.candidates) * down;
    int64_t at = bottom;
    for (int64_t round = 0; round < o.rounds; ++round) {
      const auto [up, next] = excursion(run, {.step = at, .sigma = run.sigma(at)});
      calls += children * (run.calls_to_reach(up, next) + 1);
      at = next;
    }
    return calls + static_cast<double>(survivors) * run.calls_to_finish(at);
  }

  // Children at their bottom, parents among them with elitism. Empty where the budget does not suffice.
  static Group branch(Run& run, const Group& beams) {
    const auto& o = run.options();
    const auto families = static_cast<int64_t>(beams.size());
    std::vector<int64_t> children;
    double cost = 0;
    for (int64_t p = 0; p < families; ++p) {
      const auto& parent = beams[static_cast<size_t>(p)];
      const auto [up, bottom] = excursion(run, parent);
      children.push_back(o.candidates / families + (p < o.candidates % families ? 1 : 0) - (o.elitism ? 1 : 0));
      cost += static_cast<double>(children.back()) * (run.calls_to_reach(up, bottom) + 1) + run.calls_to_finish(parent.step);
    }
    if (!run.affords(cost)) return {};
    Group out;
    for (size_t p = 0; p < beams.size(); ++p) {
      const auto [up, bottom] = excursion(run, beams[p]);
      Group family;
      for (int64_t k = 0; k < children[p]; ++k)
        family.push_back({.parent = beams[p].id,
                          .kind = "path",
                          .step = up,
                          .sigma = run.sigma(up),
                          .z = renoise(run.problem().coordinates, beams[p].z, run.fresh_noise(), beams[p].sigma, run.sigma(up)),
                          .noise = beams[p].noise});
      run.advance_to(family, bottom);
      if (o.elitism) out.push_back(run.kept(beams[p]));
      out.insert(out.end(), family.begin(), family.end());
    }
    return out;
  }
};

}  // namespace

Entry<Strategy> strategy_paths() { return entry<Strategy, Paths>("paths", "Samples near the end are noised up again and brought down another way"); }

}  // namespace resflow::search
