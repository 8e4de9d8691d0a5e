#include "resflow/rewards/panel.h"

#include <fmt/format.h>

#include <algorithm>

namespace resflow::rewards {
namespace {

[[noreturn]] void complain(const std::string& problem, const std::string& wanted, const std::string& got, const std::string& hint = "") {
  throw_user_error({.where = "rewards", .problem = problem, .wanted = wanted, .got = got, .hint = hint});
}

void check_count(const char* what, size_t values, size_t names) {
  if (values != 0 && values != names)
    complain(fmt::format("wrong number of {}", what), fmt::format("none, or one for each of the {} rewards", names), std::to_string(values));
}

}  // namespace

Panel::Panel(std::span<const std::string> names, std::span<const double> weights, std::span<const double> gates, std::string prompt)
    : prompt_(std::move(prompt)) {
  if (names.empty()) complain("no reward", "at least one", "none");
  check_count("weights", weights.size(), names.size());
  check_count("gates", gates.size(), names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    const auto& name = names[i];
    if (std::any_of(members_.begin(), members_.end(), [&](const Member& m) { return m.judge.name == name; }))
      complain("a reward twice", "each once, with a weight", name);
    Judge judge{.name = name};
    if (!weights.empty()) judge.weight = weights[i];
    if (!gates.empty()) judge.gate = gates[i];
    if (!(judge.weight >= 0)) complain("weight of '" + name + "'", "0 or more", fmt::format("{}", judge.weight));
    std::shared_ptr<const Reward> reward = reward_registry().make(name);
    if (reward->needs_prompt() && prompt_.empty())
      complain("'" + name + "' needs to know what the picture shows", "a caption", "none", "Add --caption \"...\"");
    members_.push_back({std::move(judge), std::move(reward)});
  }
  if (std::all_of(members_.begin(), members_.end(), [](const Member& m) { return m.judge.weight == 0; }))
    complain("all weights are 0", "at least one above 0", "none");
}

std::vector<Judge> Panel::judges(RewardContext context) const {
  context.prompt = prompt_;
  std::vector<Judge> out;
  for (const auto& [judge, reward] : members_) {
    if (reward->needs_lq() && !context.lq.defined()) complain("'" + judge.name + "' needs a source to compare with", "a source", "none");
    if (reward->needs_reference() && !context.reference.defined())
      complain("'" + judge.name + "' needs a degradation remover's output", "a reference", "none");
    out.push_back(judge);
    out.back().score = [reward = reward, context](const Tensor& images) { return reward->score(images, context); };
  }
  return out;
}

std::vector<Judge> make_judges(std::span<const std::string> names, std::span<const double> weights, std::span<const double> gates,
                               const RewardContext& context) {
  return Panel(names, weights, gates, context.prompt).judges(context);
}

}  // namespace resflow::rewards
