// One search under way: the budget, the calls, the trace, and the operations that strategies are written in.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "resflow/core/rng.h"
#include "resflow/search/problem.h"

namespace resflow::search {

// Thrown out of a model call that may not be made any more; caught by search().
struct SearchEnded {
  std::string reason;  // budget, time, stopped
};

// A sample in flight.
struct Candidate {
  int64_t id = -1, parent = -1;  // places in the trace; id = -1 until judged
  std::string kind = "start";
  int64_t step = 0;                             // the next step goes to sigmas[step + 1]
  double sigma = 1;                             // of z: sigmas[step], or above it after churn
  double rho = 0;                               // of the perturbation that made it
  Tensor z;                                     // [1, ...]
  Tensor velocity;                              // at (z, sigma), once known: the next step does not ask again
  Tensor x0;                                    // its latest estimate; z itself when finished
  Tensor noise;                                 // the start noise, where the strategy needs it
  std::vector<Tensor> ahead_z, ahead_velocity;  // steps already taken by finish_ahead(), next one first
  std::vector<double> scores;
  double fused = 0;
  bool gated = false;
  double weight = 1;  // smc: normalised, of its group
};
using Group = std::vector<Candidate>;

struct SearchResult {
  Tensor x0;              // the winner, [1, ...]
  bool finished = false;  // false: an estimate, since the search was stopped before one candidate was done
  Group candidates;       // all that were finished, the winner among them; id = their place in the trace
  Trace trace;
};

class Run {
 public:
  Run(const SearchProblem& problem, const SearchOptions& options);

  const SearchProblem& problem() const { return problem_; }
  const SearchOptions& options() const { return options_; }
  int64_t steps() const { return static_cast<int64_t>(problem_.sigmas.size()) - 1; }
  double sigma(int64_t step) const { return problem_.sigmas[static_cast<size_t>(step)]; }
  int64_t strides() const { return options_.estimator == "tweedie" ? 0 : options_.lookahead; }

  // Calls are counted in samples; NFE = calls * cost_per_sample.
  double nfe() const { return calls_ * problem_.cost_per_sample; }
  double calls_left() const;  // by budget and, at the pace so far, by time; infinity without limits
  // What a strategy leaves out because of a no is told as the search's end: budget or time.
  bool affords(double calls) const;
  double calls_to_finish(int64_t step) const;  // of one sample from sigmas[step]
  double calls_to_reach(int64_t from, int64_t to) const;
  void expect(double calls) { expected_ = calls * problem_.cost_per_sample; }  // for the progress report

  // The steps that get a round: at most `rounds`, evenly spread over those whose sigma lies within round_low..round_high.
  std::vector<int64_t> round_steps() const;
  double rho_at(double sigma) const;

  // Candidates
  Candidate start(uint64_t index);  // from draw_noise("start", index)
  Candidate start_from(const Tensor& noise);
  Tensor fresh_noise();                                      // the next of "search"
  Candidate kept(const Candidate& parent) const;             // the parent as a competitor of its children
  Candidate perturbed(const Candidate& parent, double rho);  // its velocity must be known where perturbing_needs_velocity()
  bool perturbing_needs_velocity() const { return perturbation_->needs_velocity(); }
  // `count` competitors from `parents`, shared out evenly (the first get the rest); with elitism the first of each is the parent. Asks for
  // the parents' velocities where the perturbation needs them (one call a parent, shared by its children and itself).
  Group expand(Group& parents, int64_t count, double rho);

  // Model calls (throw SearchEnded), in batches of equal sigma.
  void evaluate(Group& group);                     // velocity where it is not known
  void look_ahead(Group& group, int64_t strides);  // x0
  void finish_ahead(Group& group);                 // x0 by the sampler's own steps, which are kept
  void advance(Group& group);                      // one sampler step
  void advance_to(Group& group, int64_t step);     // each from where it stands
  void finish(Group& group, int64_t round = 0);    // to sigma 0; judged as `final` and added to finished()
  Tensor call(const Tensor& z, double sigma);      // one counted call

  // Whole samples from so many start noises, or as many as the budget finishes; one batch is done before the next begins, so that a stop finds
  // results.
  void sample(int64_t count);

  // Judging
  void judge(Group& group, int64_t round);                         // scores of x0; the first time a candidate is judged it gets its id
  void fuse(Group& group);                                         // fused, gated from the scores of this group
  std::vector<size_t> order(const Group& group) const;             // best first, ties by place, gated last
  Group select(const Group& group, int64_t count, int64_t round);  // the best, best first; noted in the trace
  void note_round(const Group& group, int64_t round, double margin);
  void weigh(int64_t id, double weight);                             // smc: a candidate's weight, for the trace and the result
  bool beats(const Candidate& challenger, const Candidate& holder);  // by the fused score of the two

  // The end
  void set_lead(const Candidate& candidate) { lead_ = candidate; }  // what is finished if the search ends early
  void keep_affordable(Group& group) const;                         // drops from the back what could not be finished within the budget
  void add_finished(Candidate candidate);                           // already judged
  // Adds the best that can be put together from the finished candidates, region by region of a grid of regions x regions (regions.h), where any
  // change is an improvement. No model calls; 2 (N - 1) regions^2 mixtures are judged, or as many as a stop or the time limit leaves.
  void stitch(int64_t regions);
  const Group& finished() const { return finished_; }
  Trace& trace() { return trace_; }
  // After SearchEnded: spends what is left of the budget on the lead, where nothing is finished yet.
  void finish_lead();
  SearchResult conclude(const std::string& reason);

 private:
  struct Slice {
    std::vector<size_t> places;
    double sigma;
    int64_t step;
  };
  // Places in the group, cut into batches of equal sigma and step; without those whose velocity is known, where `unknown_velocity`.
  std::vector<Slice> slices(const Group& group, bool unknown_velocity) const;
  double seconds() const;
  bool over() const;  // by a stop or the time limit

  const SearchProblem& problem_;
  const SearchOptions& options_;
  std::unique_ptr<Perturbation> perturbation_;
  rewards::Fusion fusion_;
  double calls_ = 0, expected_ = 0, began_ = 0;
  uint64_t drawn_ = 0;
  mutable std::string refused_;  // by which limit a call was not afforded; "" = none was
  std::optional<Candidate> lead_;
  Group finished_;
  Trace trace_;
};

}  // namespace resflow::search
