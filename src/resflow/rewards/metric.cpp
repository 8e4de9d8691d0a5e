#include "resflow/rewards/metric.h"

namespace resflow::rewards {

#define RESFLOW_METRIC(name) Entry<Metric> metric_##name();
#include "resflow/rewards/list.inc"
#undef RESFLOW_METRIC

const Registry<Metric>& metrics() {
  static const Registry<Metric> registry("metric", {
#define RESFLOW_METRIC(name) metric_##name(),
#include "resflow/rewards/list.inc"
#undef RESFLOW_METRIC
                                                   });
  return registry;
}

}  // namespace resflow::rewards
