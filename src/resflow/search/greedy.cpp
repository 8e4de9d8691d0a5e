// The paper's search (ResFlow-Tuner, 2603.22027): N start noises, judged by their look-ahead, M survive; at each of K chosen steps the
// survivors branch into N, which compete, and M survive; at the last chosen step all N are finished and one wins.
//
// NFE with S strides, T steps: N (S + 1) [start] + K N (S + 1) + T M - (K + 1) M, since the first velocity of each accepted candidate is its next
// step's. With last_expansion the last round's look-ahead is replaced by finishing all N. `preserve` without elitism adds a call a
// parent and round (with elitism it is the parent's own).
#include <algorithm>

#include "resflow/search/strategy.h"

namespace resflow::search {
namespace {

class Greedy final : public Strategy {
 public:
  void search(Run& run) const override {
    const auto& o = run.options();
    const auto rounds = run.round_steps();
    const double look = static_cast<double>(run.strides() + 1);
    const auto m = std::min(o.survivors, o.candidates);
    run.expect(static_cast<double>(o.candidates) * look * static_cast<double>(rounds.size() + 1) +
               static_cast<double>(m) * (run.calls_to_finish(0) - static_cast<double>(rounds.size() + 1)));

    int64_t count = o.candidates;
    while (count > 1 && !run.affords(static_cast<double>(count) * look + run.calls_to_finish(0) - 1)) --count;
    Group beams;
    for (int64_t i = 0; i < count; ++i) beams.push_back(run.start(static_cast<uint64_t>(i)));
    if (count > 1) {
      run.look_ahead(beams, run.strides());
      run.judge(beams, 0);
      beams = run.select(beams, m, 0);
    }
    int64_t round = 0;
    for (int64_t step = 0; step < run.steps(); ++step) {
      run.set_lead(beams.front());
      if (std::find(rounds.begin(), rounds.end(), step) != rounds.end()) {
        const bool last = o.last_expansion && step == rounds.back();
        const double n = static_cast<double>(o.candidates), beam_count = static_cast<double>(beams.size()), rest = run.calls_to_finish(step);
        const double parents = run.perturbing_needs_velocity() && !o.elitism ? beam_count : 0;
        if (run.affords(parents + (last ? n * rest : n * look + beam_count * rest))) {
          Group group = run.expand(beams, o.candidates, run.rho_at(run.sigma(step)));
          ++round;
          if (last) return run.finish(group, round);
          run.look_ahead(group, run.strides());
          run.judge(group, round);
          beams = run.select(group, m, round);
          run.set_lead(beams.front());
        }
      }
      run.keep_affordable(beams);
      run.advance(beams);
    }
    run.finish(beams, round + 1);
  }
};

}  // namespace

Entry<Strategy> strategy_greedy() {
  return entry<Strategy, Greedy>("greedy", "The paper's: at chosen steps survivors branch, the look-ahead decides");
}

}  // namespace resflow::search
