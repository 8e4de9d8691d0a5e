#include "resflow/rewards/reward.h"

namespace resflow::rewards {

#define RESFLOW_REWARD(name) Entry<Reward> reward_##name();
#define RESFLOW_PUBLIC_REWARD(name) Entry<Reward> reward_##name();
#include "resflow/rewards/reward_list.inc"
#undef RESFLOW_REWARD
#undef RESFLOW_PUBLIC_REWARD

const Registry<Reward>& reward_registry() {
  static const Registry<Reward> registry("reward", {
#define RESFLOW_REWARD(name) reward_##name(),
#define RESFLOW_PUBLIC_REWARD(name) reward_##name(),
#include "resflow/rewards/reward_list.inc"
#undef RESFLOW_REWARD
#undef RESFLOW_PUBLIC_REWARD
                                                   });
  return registry;
}

}  // namespace resflow::rewards
