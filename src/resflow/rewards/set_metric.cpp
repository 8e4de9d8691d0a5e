#include "resflow/rewards/set_metric.h"

namespace resflow::rewards {

#define RESFLOW_SET_METRIC(name) Entry<SetMetric> set_metric_##name();
#include "resflow/rewards/set_list.inc"
#undef RESFLOW_SET_METRIC

const Registry<SetMetric>& set_metrics() {
  static const Registry<SetMetric> registry("metric of sets", {
#define RESFLOW_SET_METRIC(name) set_metric_##name(),
#include "resflow/rewards/set_list.inc"
#undef RESFLOW_SET_METRIC
                                                              });
  return registry;
}

}  // namespace resflow::rewards
