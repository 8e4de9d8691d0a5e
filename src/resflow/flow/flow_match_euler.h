// The noise levels that a model's scheduler/scheduler_config.json asks for (diffusers: FlowMatchEulerDiscreteScheduler, as FLUX's pipelines call it).
#pragma once

#include <string>
#include <vector>

#include "resflow/core/fields.h"

namespace resflow::flow {

// Defaults are diffusers'. FLUX.1-dev: use_dynamic_shifting; schnell: shift 1.
struct FlowMatchEuler {
  std::string class_name = "FlowMatchEulerDiscreteScheduler";
  int64_t num_train_timesteps = 1000;
  double shift = 1;
  bool use_dynamic_shifting = false;
  std::string time_shift_type = "exponential";
  int64_t base_image_seq_len = 256, max_image_seq_len = 4096;
  double base_shift = 0.5, max_shift = 1.15;
  double shift_terminal = 0;  // null in the file
  bool invert_sigmas = false, use_karras_sigmas = false, use_exponential_sigmas = false, use_beta_sigmas = false, stochastic_sampling = false;

  // Throws UserError where the file asks for what is not done here: karras, exponential and beta levels, a stretched end, inverted or stochastic
  // sampling. No model of FLUX's family has them.
  void check(const std::string& where) const;

  // The shift's exponent for an image of so many tokens: a line through (base_image_seq_len, base_shift) and (max_image_seq_len, max_shift),
  // extended at both ends, not clamped. Without dynamic shifting log(shift), whatever the size.
  double mu(int64_t image_tokens) const;
  // steps + 1 levels from 1 to 0: 1, 1 - 1/steps, ..., 1/steps, shifted, and 0. In double; diffusers rounds to float32.
  std::vector<double> sigmas(int64_t steps, int64_t image_tokens) const;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("_class_name", o.class_name, "Class of diffusers", OneOf{{"FlowMatchEulerDiscreteScheduler"}});
    visit("num_train_timesteps", o.num_train_timesteps, "What a level is multiplied by in files", Range{1000, 1000});
    visit("shift", o.shift, "Shift towards noise, whatever the size", Range{1e-3, 1e3});
    visit("use_dynamic_shifting", o.use_dynamic_shifting, "A shift by the size instead");
    visit("time_shift_type", o.time_shift_type, "What the shift by the size means", OneOf{{"exponential", "linear"}});
    visit("base_image_seq_len", o.base_image_seq_len, "Tokens of a small image", Range{1, 1e9});
    visit("max_image_seq_len", o.max_image_seq_len, "Tokens of a large image", Range{1, 1e9});
    visit("base_shift", o.base_shift, "Shift of a small image", Range{-100, 100});
    visit("max_shift", o.max_shift, "Shift of a large image", Range{-100, 100});
    visit("shift_terminal", o.shift_terminal, "Where a stretched schedule ends");
    visit("invert_sigmas", o.invert_sigmas, "Levels from 0 to 1");
    visit("use_karras_sigmas", o.use_karras_sigmas, "Levels of Karras et al. 2022");
    visit("use_exponential_sigmas", o.use_exponential_sigmas, "Evenly spaced in their logarithm");
    visit("use_beta_sigmas", o.use_beta_sigmas, "Levels of a beta distribution");
    visit("stochastic_sampling", o.stochastic_sampling, "Fresh noise at each step");
  }
};

}  // namespace resflow::flow
