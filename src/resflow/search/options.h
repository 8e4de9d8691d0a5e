// What a search is told. --help, the manifest and the trace are drawn from this list. Its names stand beside RestoreOptions' in all of them.
#pragma once

#include <string>
#include <vector>

#include "resflow/core/fields.h"
#include "resflow/rewards/ensemble.h"
#include "resflow/search/estimator.h"
#include "resflow/search/perturbation.h"

namespace resflow::search {

std::vector<std::string> strategy_names();

struct SearchOptions {
  std::string strategy = "none";
  int64_t candidates = 4, rounds = -1, survivors = 2, lookahead = 2;
  double rho = 0.3, rho_decay = 0;
  std::string perturbation = "preserve", estimator = "mspde";
  bool elitism = true, last_expansion = true;
  std::vector<std::string> rewards = {"dr-consistency", "lq-consistency", "niqe"};
  std::vector<double> reward_weights, reward_gates;
  std::string fusion = "rank";
  double budget = 0, time = 0;
  double round_low = 0.25, round_high = 0.85;
  int64_t batch = 0;
  int64_t seed = 0;  // of the choices by lot; no field: the caller's own seed
  double path_start = 0.11, path_forward = 0.78, path_backward = 0.81;
  double diffusion = 3;
  std::string levels = "sampler";
  std::string potential = "diff";
  double temperature = 10, resample_below = 0.5;
  bool share_velocity = true, early_rejection = true, adaptive_rho = true, stop_early = true, finish_lookahead = true;
  int64_t regions = 4;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("search", o.strategy, "Test-time search: how candidates are made and kept", OneOf{strategy_names()});
    visit("candidates", o.candidates, "Candidates a round; 1 = plain sampling", Range{1, 4096});
    visit("rounds", o.rounds, "Rounds; at most one a step; -1 = the strategy's own: 2, of resflow 0, whose candidates are all finished",
          Range{-1, 1000});
    visit("survivors", o.survivors, "Candidates that go on after a round; at most as many as candidates", Range{1, 4096});
    visit("lookahead", o.lookahead, "Strides that mspde looks ahead", Range{0, 64});
    visit("rho", o.rho, "Strength of a perturbation: fresh noise relative to the noise that is there", Range{0, 1});
    visit("rho_decay", o.rho_decay, "A round at noise level t perturbs by rho * t^rho_decay", Range{0, 4});
    visit("perturbation", o.perturbation, "How siblings are made", OneOf{perturbations().names()});
    visit("estimator", o.estimator, "How a candidate in flight is judged", OneOf{estimator_names()});
    visit("elitism", o.elitism, "Parents compete with their children");
    visit("last_expansion", o.last_expansion, "greedy: all candidates of the last round are finished before the winner is chosen");
    visit("rewards", o.rewards, "Who judges", OneOf{rewards::reward_registry().names()});
    visit("reward_weights", o.reward_weights, "One for each reward, or none; 0 = recorded, not searched for");
    visit("reward_gates", o.reward_gates, "One for each reward, or none: drops what scores lower than its parent by more; negative = no gate");
    visit("fusion", o.fusion, "How the rewards become one", OneOf{rewards::fusion_names()});
    visit("budget", o.budget, "Most model evaluations (NFE); 0 = no limit", Range{0, 1e12});
    visit("time", o.time, "Most seconds of the search; 0 = no limit", Range{0, 1e9});
    visit("round_low", o.round_low, "Lowest noise level of a round", Range{0, 1});
    visit("round_high", o.round_high, "Highest noise level of a round", Range{0, 1});
    visit("candidate_batch", o.batch, "Candidates in one model call (memory grows with it); 0 = all", Range{0, 4096});
    visit("path_start", o.path_start, "paths: noise level where the paths first compete", Range{0, 1});
    visit("path_forward", o.path_forward, "paths: how far a round goes back up in noise", Range{0, 1});
    visit("path_backward", o.path_backward, "paths: how far it comes down again", Range{0, 1});
    visit("diffusion", o.diffusion, "rollover, smc: g = diffusion * t^2 of their stochastic steps", Range{0, 20});
    visit("levels", o.levels, "rollover: the sampler's noise levels, or the published schedule, which has few at the clean end",
          OneOf{{"sampler", "published"}});
    visit("potential", o.potential, "smc: of the reward's course, what weighs", OneOf{{"diff", "max", "add", "rt"}});
    visit("temperature", o.temperature, "smc: weight = exp(temperature * reward)", Range{0, 1e4});
    visit("resample_below", o.resample_below, "smc: resample when the effective share of the candidates falls below", Range{0, 1});
    visit("share_velocity", o.share_velocity, "resflow: siblings share their parent's model call");
    visit("early_rejection", o.early_rejection, "resflow: half of the candidates are dropped after a one-step estimate");
    visit("adaptive_rho", o.adaptive_rho, "resflow: rho follows success (halved when no child wins, x 1.3 when all parents lose)");
    visit("stop_early", o.stop_early, "resflow: no more rounds once the parents have won twice");
    visit("finish_lookahead", o.finish_lookahead, "resflow: near the end, look ahead with the sampler's own steps and keep them");
    visit("regions", o.regions,
          "resflow: the winner is put together from all finished candidates, in so many regions a side; 1 = one of them as it is", Range{1, 64});
  }
};

// Ranges and names, and what contradicts itself. Throws UserError.
void check_search(const SearchOptions& options);

}  // namespace resflow::search
