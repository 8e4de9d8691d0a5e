#include "resflow/flow/sampler.h"

namespace resflow::flow {

#define RESFLOW_SAMPLER(name) Entry<Sampler> sampler_##name();
#include "resflow/flow/list.inc"
#undef RESFLOW_SAMPLER

const Registry<Sampler>& samplers() {
  static const Registry<Sampler> registry("sampler", {
#define RESFLOW_SAMPLER(name) sampler_##name(),
#include "resflow/flow/list.inc"
#undef RESFLOW_SAMPLER
                                                     });
  return registry;
}

}  // namespace resflow::flow
