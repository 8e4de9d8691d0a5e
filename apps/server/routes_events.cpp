// Server-sent events of a job: /v1/jobs/{id}/events.
#include <fmt/format.h>

#include "resflow/core/error.h"
#include "server/connection.h"
#include "server/openapi.h"
#include "server/routes.h"

namespace resflow::server {
namespace {

using namespace openapi;
using namespace std::chrono_literals;

std::string event(const std::string& kind, const Json& data) { return "event: " + kind + "\ndata: " + text_of(data) + "\n\n"; }

// One listener's stream.
class Stream {
 public:
  Stream(JobService& jobs, const JobRecord& job) : jobs_(jobs), id_(job.id), watcher_(jobs.feed(), job.id) {}

  // Writes what is new, or waits for it. false: the client has gone.
  bool go_on(httplib::DataSink& sink) {
    const auto now = jobs_.feed().sight(id_);
    std::string text;
    bool last = false;
    if (!begun_ || now.state != seen_.state) {
      Json job = {{"id", id_}, {"state", "removed"}};
      try {
        const JobRecord record = jobs_.find(id_);
        job = jobs_.json(record);
        last = is_final(record.state);
      } catch (const HttpError&) {
        last = true;
      }
      if (job != told_) text += event("state", job);
      told_ = job;
    }
    if (!last && !now.progress_json.is_null() && (!begun_ || now.progress != seen_.progress)) {
      Json progress = {{"id", id_}};
      progress.update(now.progress_json);
      text += event("progress", progress);
    }
    if (!last && now.preview > 0 && (!begun_ || now.preview != seen_.preview))
      text += event("preview", {{"id", id_}, {"url", fmt::format("/v1/jobs/{}/preview?n={}", id_, now.preview)}});
    begun_ = true;
    seen_ = now;
    if (!text.empty()) {
      spoke_ = std::chrono::steady_clock::now();
      if (!sink.write(text.data(), text.size())) return false;
    }
    if (last || jobs_.ending()) {
      sink.done();
      return true;
    }
    if (std::chrono::steady_clock::now() - spoke_ > 10s) {  // proxies cut what is silent
      spoke_ = std::chrono::steady_clock::now();
      if (!sink.write(": still here\n\n", 14)) return false;
    }
    if (const auto* connection = Connection::current(); connection == nullptr || connection->hung_up()) return false;
    jobs_.feed().wait(id_, seen_, 1s);
    return true;
  }

 private:
  JobService& jobs_;
  const std::string id_;
  const Feed::Watcher watcher_;
  Sight seen_;
  Json told_;
  bool begun_ = false;
  std::chrono::steady_clock::time_point spoke_ = std::chrono::steady_clock::now();
};

}  // namespace

std::vector<Route> event_routes(JobService& jobs) {
  return {{.method = "GET",
           .path = "/v1/jobs/{id}/events",
           .operation = operation({.tag = "jobs",
                                   .summary = "Server-sent events: state (the job), progress, preview (a URL); ends with the job",
                                   .responses = {{"200", file_response("Events", {"text/event-stream"})}}}),
           .handle = [&jobs](const Exchange& exchange) {
             const auto stream = std::make_shared<Stream>(jobs, jobs.find(exchange.parts.at("id")));
             exchange.response.status = 200;
             exchange.response.set_header("X-Accel-Buffering", "no");
             exchange.response.set_chunked_content_provider("text/event-stream",
                                                            [stream](size_t, httplib::DataSink& sink) { return stream->go_on(sink); });
           }}};
}

}  // namespace resflow::server
