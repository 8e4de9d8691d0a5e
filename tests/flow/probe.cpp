// Prints the schedule, so that the Python tests can compare it with another implementation.
//   flow_probe sigmas STEPS MU     shifted levels, one a line
//   flow_probe mu TOKENS
#include <fmt/format.h>

#include <string>
#include <vector>

#include "resflow/flow/schedule.h"

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (args.at(0) == "mu") {
    fmt::print("{:.17g}\n", resflow::flow::resolution_mu(std::stod(args.at(1))));
  } else {
    for (const double sigma : resflow::flow::shift_sigmas(resflow::flow::linear_sigmas(std::stoi(args.at(1))), std::stod(args.at(2))))
      fmt::print("{:.17g}\n", sigma);
  }
}
