#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace resflow::server {
namespace {

const prometheus::Histogram::BucketBoundaries kSeconds{0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600};

}  // namespace

struct Metrics::Families {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& jobs =
      prometheus::BuildCounter().Name("resflow_jobs_total").Help("Jobs that ended, by state").Register(registry);
  prometheus::Family<prometheus::Counter>& requests =
      prometheus::BuildCounter().Name("resflow_http_requests_total").Help("Requests, by route and code").Register(registry);
  prometheus::Gauge& waiting = prometheus::BuildGauge().Name("resflow_queue_length").Help("Jobs that wait").Register(registry).Add({});
  prometheus::Gauge& running = prometheus::BuildGauge().Name("resflow_jobs_running").Help("Jobs at work").Register(registry).Add({});
  prometheus::Counter& pixels = prometheus::BuildCounter().Name("resflow_pixels_total").Help("Pixels of the results made").Register(registry).Add({});
  prometheus::Histogram& wait_seconds =
      prometheus::BuildHistogram().Name("resflow_job_wait_seconds").Help("Time in the queue").Register(registry).Add({}, kSeconds);
  prometheus::Histogram& work_seconds =
      prometheus::BuildHistogram().Name("resflow_job_work_seconds").Help("Time at work").Register(registry).Add({}, kSeconds);
};

Metrics::Metrics() : families_(std::make_unique<Families>()) {
  for (const auto state : {State::done, State::failed, State::cancelled})
    families_->jobs.Add({{"state", name_of(state)}});  // there from the start, as 0
}
Metrics::~Metrics() = default;

void Metrics::job_ended(State state, double waited, double worked, double pixels) {
  families_->jobs.Add({{"state", name_of(state)}}).Increment();
  families_->wait_seconds.Observe(waited);
  if (worked > 0) families_->work_seconds.Observe(worked);
  families_->pixels.Increment(pixels);
}

void Metrics::request(const std::string& route, int code) { families_->requests.Add({{"route", route}, {"code", std::to_string(code)}}).Increment(); }

std::string Metrics::text(int64_t waiting, int64_t running) const {
  families_->waiting.Set(static_cast<double>(waiting));
  families_->running.Set(static_cast<double>(running));
  return prometheus::TextSerializer().Serialize(families_->registry.Collect());
}

}  // namespace resflow::server
