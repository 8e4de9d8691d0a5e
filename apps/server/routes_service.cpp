// What the server tells about itself.
#include "resflow/core/error.h"
#include "server/openapi.h"
#include "server/routes.h"
#include "server/schema.h"

namespace resflow::server {

using namespace openapi;

std::vector<Route> service_routes(JobService& jobs) {
  const Json object = {{"type", "object"}};
  return {
      {.method = "GET",
       .path = "/health",
       .operation = operation({.tag = "service", .summary = "Whether the server works", .responses = {{"200", json_response("It does", object)}}}),
       .handle =
           [&jobs](const Exchange& exchange) {
             exchange.reply({{"status", jobs.ending() ? "ending" : "ok"},
                             {"version", RESFLOW_VERSION},
                             {"queue", {{"waiting", jobs.waiting()}, {"running", jobs.running()}}}},
                            jobs.ending() ? 503 : 200);
           },
       .open = true},
      {.method = "GET",
       .path = "/metrics",
       .operation =
           operation({.tag = "service", .summary = "Numbers for Prometheus", .responses = {{"200", file_response("Text format", {"text/plain"})}}}),
       .handle =
           [&jobs](const Exchange& exchange) {
             exchange.response.status = 200;
             exchange.response.set_content(jobs.metrics().text(jobs.waiting(), jobs.running()), "text/plain; version=0.0.4; charset=utf-8");
           }},
      {.method = "GET",
       .path = "/v1/models",
       .operation = operation({.tag = "service", .summary = "The model that is served", .responses = {{"200", json_response("A list", object)}}}),
       .handle =
           [&jobs](const Exchange& exchange) {
             const Json model = {
                 {"id", jobs.model_name()}, {"object", "model"}, {"created", 0}, {"owned_by", "resflow"}, {"fingerprint", jobs.fingerprint()}};
             exchange.reply({{"object", "list"}, {"data", Json::array({model})}});
           }},
      {.method = "GET",
       .path = "/v1/schema",
       .operation = operation(
           {.tag = "service", .summary = "The options of a job", .responses = {{"200", json_response("Groups of fields, and limits", object)}}}),
       .handle = [&jobs](const Exchange& exchange) { exchange.reply(options_schema(jobs.options())); }},
  };
}

}  // namespace resflow::server
