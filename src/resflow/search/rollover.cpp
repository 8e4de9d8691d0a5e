// Rollover budget forcing (Kim et al., 2503.19385): the best of N start noises; then at every step of the variance-preserving SDE children are
// drawn one by one until one beats the best reward so far, which is accepted at once, and what is left of the step's quota goes to
// the next step. A child costs one call: its clean estimate is judged, its velocity is the next step's.
//
// NFE: at most N + quota (T - 1). The quota is what the budget leaves, evenly; without a budget, N a step.
#include <algorithm>
#include <cmath>

#include "resflow/search/sde.h"
#include "resflow/search/strategy.h"

namespace resflow::search {
namespace {

class Rollover final : public Strategy {
 public:
  void search(Run& run) const override {
    const auto& o = run.options();
    const auto steps = run.steps();
    const bool published = o.levels == "published";
    auto levels = vp_levels(steps, run.sigma(0));
    if (!published)
      for (int64_t k = 0; k <= steps; ++k) levels[static_cast<size_t>(k)] = vp_level_at(run.sigma(k));
    const auto level_sigma = [&](int64_t k) { return published && k > 0 && k < steps ? levels[static_cast<size_t>(k)].flow_sigma() : run.sigma(k); };

    int64_t particles = o.candidates;
    while (particles > 1 && !run.affords(static_cast<double>(particles + steps - 1))) --particles;
    Group starts;
    for (int64_t i = 0; i < particles; ++i) starts.push_back(run.start(static_cast<uint64_t>(i)));
    double quota = static_cast<double>(o.candidates), rolled = 0;
    const auto expected = [&] { return static_cast<double>(particles) + quota * static_cast<double>(steps - 1); };
    run.expect(expected());
    run.look_ahead(starts, 0);
    run.judge(starts, 0);
    Candidate at = run.select(starts, 1, 0).front(), best = at;
    run.set_lead(at);
    if (steps > 1 && std::isfinite(run.calls_left())) quota = std::max(1.0, std::floor(run.calls_left() / static_cast<double>(steps - 1)));
    run.expect(expected());

    for (int64_t k = 0; k + 1 < steps; ++k) {
      const double allowed = quota + rolled, after = static_cast<double>(steps - 2 - k);  // each later step needs one
      const auto &from = levels[static_cast<size_t>(k)], &to = levels[static_cast<size_t>(k + 1)];
      Group tried;
      bool improved = false;
      rolled = 0;
      while (static_cast<double>(tried.size()) < allowed && (tried.empty() || run.affords(1 + after))) {
        Group child{{.parent = at.id, .kind = "perturbed", .sigma = level_sigma(k + 1), .noise = at.noise}};
        child[0].z = vp_sde_step(run.problem().coordinates, at.z, at.velocity, run.fresh_noise(), at.sigma, from, to, child[0].sigma,
                                 square_diffusion(from.s, o.diffusion));
        child[0].step = place(run, child[0].sigma);
        run.look_ahead(child, 0);
        run.judge(child, k + 1);
        tried.push_back(child.front());
        if ((improved = run.beats(child.front(), best))) {
          rolled = allowed - static_cast<double>(tried.size());
          break;
        }
      }
      if (improved) tried = {tried.back()};
      run.fuse(tried);
      at = run.select(tried, 1, k + 1).front();
      if (improved) best = at;
      run.set_lead(at);
    }
    // The last step carries no noise: it ends in the clean estimate, which is known.
    Group last{at};
    last[0].z = at.x0;
    last[0].step = steps;
    last[0].sigma = 0;
    run.finish(last, steps);
  }

 private:
  // Where the sampler would go on from a level of its own path.
  static int64_t place(const Run& run, double sigma) {
    int64_t step = 0;
    while (step + 1 < run.steps() && run.sigma(step + 1) >= sigma) ++step;
    return step;
  }
};

}  // namespace

Entry<Strategy> strategy_rollover() {
  return entry<Strategy, Rollover>("rollover", "Rollover budget forcing: the first child that improves is taken");
}

}  // namespace resflow::search
