// Ours: whole samples, and a winner put together from the best regions of each (regions; run.h: stitch). For the few calls that N samples take this
// gains more than any choice among whole pictures: the regions of N samples hold far more pictures than N.
//
// With rounds, candidates branch on the way as in the paper, made cheap, and only the survivors are finished and put together. What that adds can be
// switched off one by one:
//   share_velocity    siblings share the call at their parent, which is also the parent's own next step
//   early_rejection   successive halving: a one-step estimate (free: its call is the look-ahead's first) drops half before strides are spent
//   finish_lookahead  where finishing costs no more than looking ahead, candidates are finished: exact estimates, and the winner's steps are kept
//   adaptive_rho      the 1/5 rule: rho halves when no child beats its parent, grows by 1.3 when every parent is beaten
//   stop_early        the rounds end once a parent has come first twice running
// Parents compete (elitism) in every one of these; without elitism the last two have nothing to go by.
#include <algorithm>

#include "resflow/search/strategy.h"

namespace resflow::search {
namespace {

class ResFlow final : public Strategy {
 public:
  void search(Run& run) const override {
    const auto& o = run.options();
    if (o.rounds == 0) {
      run.sample(o.candidates);
    } else {
      branch(run);
    }
    run.stitch(o.regions);
  }

 private:
  static void branch(Run& run) {
    const auto& o = run.options();
    const auto rounds = run.round_steps();
    const auto keep = std::min(o.survivors, o.candidates);
    double expected = assess_cost(run, 0, o.candidates) + static_cast<double>(keep) * (run.calls_to_finish(0) - 1);
    for (const int64_t step : rounds) expected += assess_cost(run, step, o.candidates) - static_cast<double>(keep);
    run.expect(expected);

    int64_t count = o.candidates;
    while (count > 1 && !run.affords(assess_cost(run, 0, count) + run.calls_to_finish(0) - 1)) --count;
    Group beams;
    for (int64_t i = 0; i < count; ++i) beams.push_back(run.start(static_cast<uint64_t>(i)));
    if (count > 1) beams = assess(run, std::move(beams), keep, 0).beams;

    double factor = 1;
    int64_t round = 0, unmoved = 0;
    for (int64_t step = 0; step < run.steps(); ++step) {
      run.set_lead(beams.front());
      const bool pays = !(o.stop_early && unmoved >= 2);
      if (pays && std::find(rounds.begin(), rounds.end(), step) != rounds.end() && run.affords(round_cost(run, beams, step))) {
        const double rho = std::min(0.9, factor * run.rho_at(run.sigma(step)));
        Group group = run.expand(beams, o.candidates, rho);
        if (!o.share_velocity && run.perturbing_needs_velocity()) repeat_parents_calls(run, group, beams);
        const auto outcome = assess(run, std::move(group), keep, ++round);
        beams = outcome.beams;
        run.set_lead(beams.front());
        if (o.elitism) {
          unmoved = beams.front().kind == "kept" ? unmoved + 1 : 0;
          if (o.adaptive_rho && outcome.beaten == 0) factor *= 0.5;
          if (o.adaptive_rho && outcome.beaten == outcome.parents) factor *= 1.3;
        }
      }
      run.keep_affordable(beams);
      run.advance(beams);
    }
    run.finish(beams, round + 1);
  }

  struct Outcome {
    Group beams;
    int64_t parents = 0, beaten = 0;
  };

  static bool finishes(const Run& run, int64_t step) {
    return run.options().finish_lookahead && run.calls_to_finish(step) - 1 <= static_cast<double>(run.strides());
  }
  static int64_t half_of(int64_t count) { return (count + 1) / 2; }

  // Calls, the first velocities included.
  static double assess_cost(const Run& run, int64_t step, int64_t count) {
    const auto n = static_cast<double>(count);
    if (finishes(run, step)) return n * run.calls_to_finish(step);
    const auto& o = run.options();
    const bool halves = o.early_rejection && run.strides() > 0;
    const auto second = halves ? std::max(half_of(count), std::min(count, o.survivors)) + (o.elitism ? o.survivors : 0) : count;
    return n + static_cast<double>(std::min(second, count) * run.strides());
  }
  static double round_cost(const Run& run, const Group& beams, int64_t step) {
    const auto& o = run.options();
    const bool asks = run.perturbing_needs_velocity();
    return assess_cost(run, step, o.candidates) + (asks && !o.elitism ? static_cast<double>(beams.size()) : 0) +
           (asks && !o.share_velocity ? static_cast<double>(o.candidates) : 0) + static_cast<double>(beams.size()) * run.calls_to_finish(step);
  }

  // What the ablation pays for not sharing.
  static void repeat_parents_calls(Run& run, const Group& group, const Group& beams) {
    for (const auto& child : group)
      for (const auto& parent : beams)
        if (child.kind == "perturbed" && child.parent == parent.id) run.call(parent.z, parent.sigma);
  }

  static Outcome assess(Run& run, Group group, int64_t keep, int64_t round) {
    const auto& o = run.options();
    const auto count = static_cast<int64_t>(group.size());
    if (finishes(run, group.front().step)) {
      run.finish_ahead(group);
    } else {
      if (o.early_rejection && run.strides() > 0 && half_of(count) > 0 && std::max(half_of(count), keep) < count) {
        run.look_ahead(group, 0);
        run.judge(group, round);
        // Parents stay: they are what the children are measured against.
        Group stay;
        const auto sorted = run.order(group);
        for (size_t k = 0; k < sorted.size(); ++k)
          if (static_cast<int64_t>(k) < std::max(half_of(count), keep) || group[sorted[k]].kind == "kept") stay.push_back(group[sorted[k]]);
        group = std::move(stay);
      }
      run.look_ahead(group, run.strides());
    }
    run.judge(group, round);
    Outcome out;
    for (const auto& parent : group) {
      if (parent.kind != "kept") continue;
      ++out.parents;
      out.beaten += std::any_of(group.begin(), group.end(), [&](const Candidate& c) {
        return c.kind != "kept" && c.parent == parent.parent && !c.gated && c.fused > parent.fused;
      });
    }
    out.beams = run.select(group, keep, round);
    return out;
  }
};

}  // namespace

Entry<Strategy> strategy_resflow() {
  return entry<Strategy, ResFlow>("resflow", "Ours: whole samples, and a winner put together from the best regions of each");
}

}  // namespace resflow::search
