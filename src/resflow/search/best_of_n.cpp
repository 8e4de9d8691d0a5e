// N start noises, all sampled to the end, the best kept. The control at equal cost for every other strategy.
#include "resflow/search/strategy.h"

namespace resflow::search {
namespace {

class BestOfN final : public Strategy {
 public:
  // NFE: N T.
  void search(Run& run) const override { run.sample(run.options().candidates); }
};

}  // namespace

Entry<Strategy> strategy_best_of_n() { return entry<Strategy, BestOfN>("best-of-n", "Whole samples from different start noises, the best kept"); }

}  // namespace resflow::search
