// What the search asks of an image: one number, higher is better. One file and one line of reward_list.inc each.
#pragma once

#include <string>

#include "resflow/core/registry.h"
#include "resflow/core/tensor.h"

namespace resflow::rewards {

// What a reward may compare with. What a reward needs and does not find is a bug of the caller.
struct RewardContext {
  Tensor lq;           // the source at its own size, [1, 3, h, w], 0..1
  Tensor reference;    // y*, the degradation remover's output at the result's size, [1, 3, H, W], about 0..1
  std::string prompt;  // what the picture shows, in words
};

class Reward {
 public:
  virtual ~Reward() = default;

  // images: float [N, 3, H, W], about 0..1 -> double [N] on the CPU. Not a number = this image cannot be judged (too small, flat).
  // Weights are loaded when the reward is made, so that a missing file is a UserError before any work is done.
  virtual Tensor score(const Tensor& images, const RewardContext& context) const = 0;
  virtual bool needs_lq() const { return false; }
  virtual bool needs_reference() const { return false; }
  virtual bool needs_prompt() const { return false; }
};

const Registry<Reward>& reward_registry();

}  // namespace resflow::rewards
