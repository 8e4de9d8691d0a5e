// How candidates are made, judged and kept. One file and one line of list.inc each; what they all need is in run.h.
#pragma once

#include <vector>

#include "resflow/core/registry.h"
#include "resflow/search/run.h"

namespace resflow::search {

class Strategy {
 public:
  virtual ~Strategy() = default;
  // Finishes candidates into `run`. May be left at any model call by SearchEnded: run.lead() is then what is finished instead, with what is
  // left of the budget.
  virtual void search(Run& run) const = 0;
};

const Registry<Strategy>& strategies();

// Runs asked.strategy (`none` where there is one candidate only). The winner is the best of all finished candidates by the fused score,
// ties to the earliest. The budget is never exceeded; a stop, the end of the budget or the deadline gives the best so far: what is left of a
// budget finishes the leading candidate, with fewer steps where they do not suffice; before the first call it is the coordinates'
// centre (y*). Throws UserError (options).
SearchResult search(const SearchProblem& problem, const SearchOptions& asked);

}  // namespace resflow::search
