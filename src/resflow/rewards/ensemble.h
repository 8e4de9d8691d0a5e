// Several rewards, one order: mean rank (the paper's), z-scores or a plain sum; weights; gates.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "resflow/rewards/reward.h"

namespace resflow::rewards {

// One who scores images, and how much that counts.
struct Judge {
  std::string name;
  double weight = 1;                                  // >= 0; 0 = scored and recorded, but without a say (a metric that is not searched for)
  double gate = -1;                                   // a candidate that scores lower than its parent by more than this is dropped; < 0: no gate
  std::function<Tensor(const Tensor& images)> score;  // [N, 3, H, W] -> double [N], higher is better, not a number = cannot tell
};

// Judges over registered rewards, with the context they need (panel.h: the same for many pictures, loading once). `weights` and `gates` are empty or
// one a name. Throws UserError: unknown name, a name twice, wrong number of weights or gates, a negative weight, missing weight files, a reward whose
// context is not there.
std::vector<Judge> make_judges(std::span<const std::string> names, std::span<const double> weights, std::span<const double> gates,
                               const RewardContext& context);

// One judge's scores of all images. Where it throws a UserError over a batch, images are scored one by one, and those it cannot score
// are not a number. -> N values
std::vector<double> score_images(const Judge& judge, const Tensor& images);

enum class Fusion {
  rank,    // weighted mean of ranks, scaled to -1 (last everywhere) .. 0 (first everywhere)
  zscore,  // weighted mean of (score - mean) / standard deviation over the group
  sum,     // weighted sum of the scores as they are
};
std::vector<std::string> fusion_names();
Fusion fusion_named(const std::string& name);

// 0 = best (highest); equal scores share their mean rank; those that are not a number share the last ranks.
std::vector<double> ranks(std::span<const double> scores);

struct Fused {
  std::vector<double> score;  // higher is better; comparable within the group only (but for `sum`)
  std::vector<bool> gated;    // dropped by a gate: never to be chosen while another is there
};

// scores[judge][candidate]. parents[candidate]: the place in the group of what the candidate is measured against by the gates (itself:
// never gated), or -1: the group's median. A judge that can tell nothing of any candidate abstains. If the gates would drop all, they
// drop none.
Fused fuse(const std::vector<std::vector<double>>& scores, std::span<const Judge> judges, Fusion fusion, std::span<const int64_t> parents = {});

}  // namespace resflow::rewards
