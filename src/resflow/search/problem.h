// Everything a search is given. It knows no model and no picture: a velocity, a way to see an estimate, judges, and noise by number.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "resflow/core/progress.h"
#include "resflow/flow/sampler.h"
#include "resflow/rewards/ensemble.h"
#include "resflow/search/coordinates.h"
#include "resflow/search/options.h"
#include "resflow/search/trace.h"

namespace resflow::search {

struct SearchProblem {
  // z [N, ...] -> [N, ...]. Each sample of a call costs `cost_per_sample` NFE: 1 for all of the image's tokens, their share for a tile.
  flow::VelocityFn velocity;
  double cost_per_sample = 1;

  Coordinates coordinates;
  std::vector<double> sigmas;  // falling, sigmas.back() = 0
  const flow::Sampler* sampler = nullptr;

  // Unit normals [1, ...], each number its own field. purpose: "start" (0 is the plain sampler's noise) or "search".
  std::function<Tensor(std::string_view purpose, uint64_t index)> draw_noise;

  // Clean estimates [N, ...] -> what the judges look at, [N, 3, h, w]; a preview at reduced size will do. Undefined: as they are.
  std::function<Tensor(const Tensor& x0)> decode;
  std::vector<rewards::Judge> judges;

  Job job;  // a stop ends the search with the best so far; stage "search", one unit an NFE
  // Called for each judged candidate with its decoded estimate [3, h, w], for thumbnails. Optional.
  std::function<void(const TraceCandidate&, const Tensor& image)> on_candidate;
  // Seconds since some moment, for the time limit. Undefined: the steady clock.
  std::function<double()> clock;
};

}  // namespace resflow::search
