#include "resflow/search/strategy.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "resflow/rewards/panel_check.h"

namespace resflow::search {

#define RESFLOW_STRATEGY(name) Entry<Strategy> strategy_##name();
#include "resflow/search/list.inc"
#undef RESFLOW_STRATEGY

const Registry<Strategy>& strategies() {
  static const Registry<Strategy> registry("search strategy", {
#define RESFLOW_STRATEGY(name) strategy_##name(),
#include "resflow/search/list.inc"
#undef RESFLOW_STRATEGY
                                                              });
  return registry;
}

std::vector<std::string> strategy_names() { return strategies().names(); }

void check_search(const SearchOptions& options) {
  check_fields(options);
  if (options.round_low > options.round_high)
    throw_user_error({.where = "search",
                      .problem = "no round fits between round_low and round_high",
                      .wanted = "round_low <= round_high",
                      .got = fmt::format("{} and {}", options.round_low, options.round_high)});
  if (options.strategy != "none" && options.candidates > 1 && options.survivors > options.candidates)
    throw_user_error({.where = "search",
                      .problem = "more survivors than candidates",
                      .wanted = fmt::format("at most {} survivors", options.candidates),
                      .got = std::to_string(options.survivors),
                      .hint = "Lower survivors or raise candidates"});
  if (options.strategy != "none") rewards::check_panel(options.rewards, options.reward_weights, options.reward_gates);
  if (options.strategy == "paths" && options.path_forward >= options.path_backward)
    throw_user_error({.where = "search",
                      .problem = "paths would never arrive",
                      .wanted = "path_forward below path_backward",
                      .got = fmt::format("{} and {}", options.path_forward, options.path_backward)});
}

SearchResult search(const SearchProblem& problem, const SearchOptions& asked) {
  check_search(asked);
  SearchOptions options = asked;
  if (options.rounds < 0) options.rounds = options.strategy == "resflow" ? 0 : 2;
  at::NoGradGuard no_grad;
  const bool plain = options.strategy == "none" || options.candidates == 1;
  if (!plain && problem.judges.empty())
    throw_user_error({.where = "search", .problem = "nobody judges", .wanted = "at least one reward", .got = "none"});
  const auto strategy = strategies().make(plain ? "none" : options.strategy);
  Run run(problem, options);
  std::string reason = "done";
  try {
    run.start(0);  // leads until something better does
    if (!run.affords(run.calls_to_finish(0))) throw SearchEnded{"budget"};
    strategy->search(run);
  } catch (const SearchEnded& end) {
    reason = end.reason;
    run.finish_lead();
  }
  return run.conclude(reason);
}

}  // namespace resflow::search
