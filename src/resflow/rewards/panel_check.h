// What can be told of a panel's rewards before their weight files are read.
#pragma once

#include <span>
#include <string>

namespace resflow::rewards {

// Throws UserError: no reward, an unknown name, a name twice, wrong number of weights or gates, a negative weight, all weights 0.
void check_panel(std::span<const std::string> names, std::span<const double> weights, std::span<const double> gates);

}  // namespace resflow::rewards
