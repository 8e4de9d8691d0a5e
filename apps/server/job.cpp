#include "server/job.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "resflow/core/registry.h"

namespace resflow::server {
namespace {

Json time_or_null(Time time) { return time > 0 ? Json(iso_time(time)) : Json(); }

}  // namespace

std::vector<std::string> state_names() { return {"queued", "running", "done", "failed", "cancelled"}; }
std::string name_of(State state) { return state_names()[static_cast<size_t>(state)]; }

State state_named(const std::string& name) {
  const auto names = state_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) throw_unknown_name("state", name, names);
  return static_cast<State>(found - names.begin());
}

Time time_now() { return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }

std::string iso_time(Time time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(time / 1000)), time % 1000);
}

std::string new_job_id() {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) throw std::runtime_error("no random bytes");
  std::string id;
  for (const auto byte : bytes) id += fmt::format("{:02x}", byte);
  return id;
}

bool is_job_id(const std::string& text) {
  return text.size() == 32 && std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Json job_json(const JobRecord& job, int64_t position, const Json& progress) {
  Json out = {{"id", job.id},
              {"state", name_of(job.state)},
              {"priority", job.priority},
              {"name", job.name},
              {"created", time_or_null(job.created)},
              {"started", time_or_null(job.started)},
              {"finished", time_or_null(job.finished)}};
  if (job.state == State::queued) out["position"] = position;
  out["attempts"] = job.attempts;
  out["progress"] = job.state == State::running ? progress : Json();
  out["source"] = job.source;
  out["result"] = job.result;
  out["error"] = job.error;
  out["options"] = job.options;
  out["manifest"] = job.manifest;
  out["searched"] = job.searched;
  const std::string self = "/v1/jobs/" + job.id;
  out["links"] = {{"self", self},
                  {"source", self + "/source"},
                  {"result", self + "/result"},
                  {"events", self + "/events"},
                  {"preview", self + "/preview"},
                  {"candidates", self + "/candidates"}};
  return out;
}

}  // namespace resflow::server
