// Prints the schedule, so that the Python tests can compare it with another implementation.
//   flow_probe sigmas STEPS MU     shifted levels, one a line
//   flow_probe mu TOKENS
//   flow_probe file SCHEDULER_CONFIG.json STEPS TOKENS     a model's own levels
#include <fmt/format.h>

#include <string>
#include <vector>

#include "resflow/core/config_file.h"
#include "resflow/flow/flow_match_euler.h"
#include "resflow/flow/schedule.h"

int main(int argc, char** argv) try {
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (args.at(0) == "file") {
    const auto schedule = resflow::read_config<resflow::flow::FlowMatchEuler>(args.at(1));
    schedule.check(args.at(1));
    for (const double sigma : schedule.sigmas(std::stoll(args.at(2)), std::stoll(args.at(3)))) fmt::print("{:.17g}\n", sigma);
  } else if (args.at(0) == "mu") {
    fmt::print("{:.17g}\n", resflow::flow::resolution_mu(std::stod(args.at(1))));
  } else {
    for (const double sigma : resflow::flow::shift_sigmas(resflow::flow::linear_sigmas(std::stoi(args.at(1))), std::stod(args.at(2))))
      fmt::print("{:.17g}\n", sigma);
  }
} catch (const resflow::UserError& error) {
  fmt::print(stderr, "{}\n", error.what());
  return 2;
}
