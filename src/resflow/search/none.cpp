// Plain sampling: the control that every search is measured against.
#include "resflow/search/strategy.h"

namespace resflow::search {
namespace {

class None final : public Strategy {
 public:
  void search(Run& run) const override {
    run.expect(run.calls_to_finish(0));
    Group only{run.start(0)};
    while (only.front().step < run.steps()) {
      run.advance(only);
      run.set_lead(only.front());
    }
    run.finish(only);
  }
};

}  // namespace

Entry<Strategy> strategy_none() { return entry<Strategy, None>("none", "Plain sampling"); }

}  // namespace resflow::search
