#include "resflow/rewards/metric.h"

namespace resflow::rewards {

#define RESFLOW_METRIC(name) Entry<Metric> metric_##name();
#define RESFLOW_PUBLIC_METRIC(name) Entry<Metric> metric_##name();
#include "resflow/rewards/list.inc"
#undef RESFLOW_METRIC
#undef RESFLOW_PUBLIC_METRIC

const Registry<Metric>& metrics() {
  static const Registry<Metric> registry("metric", {
#define RESFLOW_METRIC(name) metric_##name(),
#define RESFLOW_PUBLIC_METRIC(name) metric_##name(),
#include "resflow/rewards/list.inc"
#undef RESFLOW_METRIC
#undef RESFLOW_PUBLIC_METRIC
                                                   });
  return registry;
}

const std::vector<std::string>& shipped_metrics() {
  static const std::vector<std::string> names = {
#define RESFLOW_METRIC(id) metric_##id().name,
#define RESFLOW_PUBLIC_METRIC(id)
#include "resflow/rewards/list.inc"
#undef RESFLOW_METRIC
#undef RESFLOW_PUBLIC_METRIC
  };
  return names;
}

}  // namespace resflow::rewards
