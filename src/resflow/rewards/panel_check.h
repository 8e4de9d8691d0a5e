// What can be told of a panel's rewards before their weight files are read.
#pragma once

#include <span>
#include <string>

namespace resflow::rewards {

// Throws UserError: no reward, an unknown name, a name twice, wrong number of weights or gates, a negative weight, all weights 0.
void check_panel(std::span<const std::string> names, std::span<const double> weights, std::span<const double> gates);

// What the rewards ask for beyond that: public weight files that lie where they belong (they are looked for, not read), and a caption. captioned:
// there is one, or somebody will say one. Throws UserError.
void check_needs(std::span<const std::string> names, bool captioned);

}  // namespace resflow::rewards
