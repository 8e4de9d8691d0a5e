// N start noises, all sampled to the end, the best kept. The control at equal cost for every other strategy.
#include <algorithm>

#include "resflow/search/strategy.h"

namespace resflow::search {
namespace {

class BestOfN final : public Strategy {
 public:
  // NFE: N T. As many candidates as the budget finishes; one batch is done before the next begins, so that a stop finds results.
  void search(Run& run) const override {
    const auto& o = run.options();
    const double each = run.calls_to_finish(0);
    run.expect(static_cast<double>(o.candidates) * each);
    const int64_t batch = o.batch > 0 ? o.batch : o.candidates;
    for (int64_t begin = 0; begin < o.candidates; begin += batch) {
      Group group;
      for (int64_t i = begin; i < std::min(o.candidates, begin + batch); ++i) group.push_back(run.start(static_cast<uint64_t>(i)));
      while (!group.empty() && !run.affords(static_cast<double>(group.size()) * each)) group.pop_back();
      if (group.empty()) return;
      while (group.front().step < run.steps()) {
        run.advance(group);
        if (begin == 0) run.set_lead(group.front());
      }
      run.finish(group);
    }
  }
};

}  // namespace

Entry<Strategy> strategy_best_of_n() { return entry<Strategy, BestOfN>("best-of-n", "Whole samples from different start noises, the best kept"); }

}  // namespace resflow::search
