#include "resflow/rewards/panel.h"

#include <fmt/format.h>

#include <algorithm>

#include "resflow/core/registry.h"
#include "resflow/rewards/panel_check.h"
#include "resflow/rewards/public_file.h"

namespace resflow::rewards {

#define RESFLOW_REWARD(name)
#define RESFLOW_PUBLIC_REWARD(name) \
  Entry<Reward> reward_##name();    \
  PublicNeeds reward_##name##_needs();
#include "resflow/rewards/reward_list.inc"
#undef RESFLOW_REWARD
#undef RESFLOW_PUBLIC_REWARD

namespace {

[[noreturn]] void complain(const std::string& problem, const std::string& wanted, const std::string& got, const std::string& hint = "") {
  throw_user_error({.where = "rewards", .problem = problem, .wanted = wanted, .got = got, .hint = hint});
}

void check_count(const char* what, size_t values, size_t names) {
  if (values != 0 && values != names)
    complain(fmt::format("wrong number of {}", what), fmt::format("none, or one for each of the {} rewards", names), std::to_string(values));
}

[[noreturn]] void complain_of_no_caption(const std::string& name) {
  complain("'" + name + "' needs to know what the picture shows", "a caption", "none", "Add --caption \"...\"");
}

struct NamedNeeds {
  std::string name;
  PublicNeeds needs;
};

const std::vector<NamedNeeds>& public_needs() {
  static const std::vector<NamedNeeds> all = {
#define RESFLOW_REWARD(id)
#define RESFLOW_PUBLIC_REWARD(id) {reward_##id().name, reward_##id##_needs()},
#include "resflow/rewards/reward_list.inc"
#undef RESFLOW_REWARD
#undef RESFLOW_PUBLIC_REWARD
  };
  return all;
}

}  // namespace

void check_needs(std::span<const std::string> names, bool captioned) {
  for (const auto& [name, needs] : public_needs()) {
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    for (const auto& file : needs.files) find_public_file(file);
    if (needs.caption && !captioned) complain_of_no_caption(name);
  }
}

void check_panel(std::span<const std::string> names, std::span<const double> weights, std::span<const double> gates) {
  if (names.empty()) complain("no reward", "at least one", "none");
  check_count("weights", weights.size(), names.size());
  check_count("gates", gates.size(), names.size());
  const auto known = reward_registry().names();
  for (size_t i = 0; i < names.size(); ++i) {
    if (std::find(known.begin(), known.end(), names[i]) == known.end()) throw_unknown_name("reward", names[i], known);
    if (std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i), names[i]) != names.begin() + static_cast<std::ptrdiff_t>(i))
      complain("a reward twice", "each once, with a weight", names[i]);
    if (!weights.empty() && !(weights[i] >= 0)) complain("weight of '" + names[i] + "'", "0 or more", fmt::format("{}", weights[i]));
  }
  if (!weights.empty() && std::all_of(weights.begin(), weights.end(), [](double weight) { return weight == 0; }))
    complain("all weights are 0", "at least one above 0", "none");
}

Panel::Panel(std::span<const std::string> names, std::span<const double> weights, std::span<const double> gates, std::string prompt)
    : prompt_(std::move(prompt)) {
  check_panel(names, weights, gates);
  for (size_t i = 0; i < names.size(); ++i) {
    Judge judge{.name = names[i]};
    if (!weights.empty()) judge.weight = weights[i];
    if (!gates.empty()) judge.gate = gates[i];
    std::shared_ptr<const Reward> reward = reward_registry().make(names[i]);
    if (reward->needs_prompt() && prompt_.empty()) complain_of_no_caption(names[i]);
    members_.push_back({std::move(judge), std::move(reward)});
  }
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
