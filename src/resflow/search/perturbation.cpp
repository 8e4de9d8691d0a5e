#include "resflow/search/perturbation.h"

namespace resflow::search {

#define RESFLOW_PERTURBATION(name) Entry<Perturbation> perturbation_##name();
#include "resflow/search/perturbation_list.inc"
#undef RESFLOW_PERTURBATION

const Registry<Perturbation>& perturbations() {
  static const Registry<Perturbation> registry("perturbation", {
#define RESFLOW_PERTURBATION(name) perturbation_##name(),
#include "resflow/search/perturbation_list.inc"
#undef RESFLOW_PERTURBATION
                                                               });
  return registry;
}

}  // namespace resflow::search
