#include "resflow/flow/schedule.h"

#include <c10/util/Exception.h>

#include <cmath>

namespace resflow::flow {

std::vector<double> linear_sigmas(int steps, double first) {
  TORCH_CHECK(steps >= 1 && first > 0 && first <= 1, "linear_sigmas: wanted steps >= 1 and first in (0, 1], got ", steps, " and ", first);
  std::vector<double> sigmas;
  for (int i = 0; i <= steps; ++i) sigmas.push_back(first * static_cast<double>(steps - i) / steps);
  return sigmas;
}

std::vector<double> shift_sigmas(std::vector<double> sigmas, double mu) {
  const double factor = std::exp(mu);
  for (double& sigma : sigmas) sigma = sigma <= 0 ? 0 : factor / (factor + (1 / sigma - 1));  // so grouped, 1 stays 1 exactly
  return sigmas;
}

double resolution_mu(double image_tokens) { return 0.5 + (image_tokens - 256) * (1.15 - 0.5) / (4096 - 256); }

}  // namespace resflow::flow
