// What a search did: every candidate that was judged, in the order of judging. The same seed gives the same trace; seconds stand apart.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "resflow/core/json.h"

namespace resflow::search {

struct TraceCandidate {
  int64_t id = 0, parent = -1;  // parent: the candidate it came from, -1 = none
  std::string kind;             // start, kept (the parent itself), perturbed, neighbour, path, particle, final, mixed
  int64_t round = 0, step = 0;  // step: index into the sigmas where it stood when judged
  double sigma = 0, rho = 0;
  std::vector<double> scores;  // one a reward, raw; not a number where it could not tell
  double fused = 0, rank = 0;  // within the group it was judged in; rank 0 = best
  double weight = 1;           // smc: normalised weight in its group
  double nfe = 0;              // spent when it was judged
  std::vector<int64_t> parts;  // mixed: for each region of a square grid, in row order, the candidate that it is of
  bool gated = false, chosen = false, finished = false;
};

struct TraceRound {
  int64_t round = 0, step = 0;
  double sigma = 0, rho = 0, nfe = 0;
  double margin = 0;  // fused score of the last one kept less that of the first one dropped; 0 where none was dropped
};

struct Trace {
  Json options;
  std::vector<std::string> rewards;
  std::vector<TraceCandidate> candidates;  // candidates[i].id == i
  std::vector<TraceRound> rounds;
  std::vector<int64_t> path;  // from the first ancestor to the winner
  std::vector<std::string> notes;
  int64_t winner = -1;
  double nfe = 0, plain_nfe = 0;  // spent; what plain sampling costs
  double seconds = 0;
  std::string ended = "done";  // done; or what cut it short: budget, time, stopped

  // Numbers that are not finite become null. "seconds" is the only value that changes from run to run.
  Json to_json() const;
};

}  // namespace resflow::search
