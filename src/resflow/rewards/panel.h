// The rewards of a search, made once for all its pictures and tiles: their weight files are read here.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "resflow/rewards/ensemble.h"

namespace resflow::rewards {

class Panel {
 public:
  // `weights` and `gates` are empty or one a name; `prompt` is what the pictures show, "" where nobody said. Throws UserError: unknown
  // name, a name twice, wrong number of weights or gates, a negative weight, missing weight files, a reward that needs a prompt without one.
  Panel(std::span<const std::string> names, std::span<const double> weights, std::span<const double> gates, std::string prompt);

  // Judges of one picture or tile; the context's prompt is the panel's. Throws UserError where a reward's context is not there.
  std::vector<Judge> judges(RewardContext context) const;

 private:
  struct Member {
    Judge judge;  // without its score()
    std::shared_ptr<const Reward> reward;
  };
  std::vector<Member> members_;
  std::string prompt_;
};

}  // namespace resflow::rewards
