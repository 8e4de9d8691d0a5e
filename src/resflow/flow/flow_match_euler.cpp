#include "resflow/flow/flow_match_euler.h"

#include <cmath>

#include "resflow/flow/schedule.h"

namespace resflow::flow {

void FlowMatchEuler::check(const std::string& where) const {
  const auto refuse = [&](bool wrong, const char* name) {
    if (wrong) throw_user_error({.where = where, .problem = std::string(name) + " is not known here", .wanted = "a schedule of FLUX's family"});
  };
  refuse(shift_terminal != 0, "shift_terminal");
  refuse(invert_sigmas, "invert_sigmas");
  refuse(use_karras_sigmas, "use_karras_sigmas");
  refuse(use_exponential_sigmas, "use_exponential_sigmas");
  refuse(use_beta_sigmas, "use_beta_sigmas");
  refuse(stochastic_sampling, "stochastic_sampling");
  refuse(use_dynamic_shifting && max_image_seq_len == base_image_seq_len, "max_image_seq_len = base_image_seq_len");
  refuse(use_dynamic_shifting && time_shift_type == "linear" && (base_shift <= 0 || max_shift < base_shift), "a linear shift that is not positive");
}

double FlowMatchEuler::mu(int64_t image_tokens) const {
  if (!use_dynamic_shifting) return std::log(shift);
  const double slope = (max_shift - base_shift) / static_cast<double>(max_image_seq_len - base_image_seq_len);
  const double line = base_shift + slope * static_cast<double>(image_tokens - base_image_seq_len);
  if (time_shift_type == "exponential") return line;
  return std::log(std::max(line, 1e-9));  // its "linear" takes the line for the factor itself
}

std::vector<double> FlowMatchEuler::sigmas(int64_t steps, int64_t image_tokens) const {
  return shift_sigmas(linear_sigmas(static_cast<int>(steps)), mu(image_tokens));
}

}  // namespace resflow::flow
