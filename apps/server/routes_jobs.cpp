// Native jobs: /v1/jobs.
#include <fmt/format.h>

#include <charconv>

#include "resflow/core/error.h"
#include "resflow/core/parse_json.h"
#include "server/openapi.h"
#include "server/routes.h"

namespace resflow::server {
namespace {

using namespace openapi;

constexpr int64_t kMostListed = 1000, kMostPickBytes = 65536;
const std::vector<std::string> kPictures{"image/png", "image/jpeg", "image/webp", "image/avif", "image/tiff"};

Json parsed(const std::string& text, const std::string& where) {
  const Json json = parse_json(text.empty() ? "{}" : text);
  if (json.is_discarded()) throw_user_error({.where = where, .problem = "is no JSON"});
  return json;
}

int64_t limit_of(const std::string& text) {
  int64_t limit = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
  if (error != std::errc() || end != text.data() + text.size() || limit < 1 || limit > kMostListed)
    throw_user_error({.where = "limit", .wanted = fmt::format("a whole number from 1 to {}", kMostListed), .got = text});
  return limit;
}

void create(JobService& jobs, const Exchange& exchange) {
  const Form form = exchange.form(jobs.files(), {"image", "mask"});
  const ReceivedFile& picture = form.picture();
  for (const auto& [name, text] : form.fields)
    if (name != "options") throw_unknown_name("field of the form", name, {"image", "mask", "options"});
  const auto options = form.fields.find("options");
  std::optional<ReceivedMask> mask;
  if (const auto* file = form.mask()) mask.emplace(ReceivedMask{.file = *file, .kind = MaskKind::white});
  const auto made = jobs.submit(picture, {JobOptions::from_json(parsed(options == form.fields.end() ? "" : options->second, "options"))}, mask);
  exchange.response.set_header("Location", "/v1/jobs/" + made[0].id);
  exchange.reply(jobs.json(made[0]), 202);
}

void list(JobService& jobs, const Exchange& exchange) {
  const std::string state = exchange.parameter("state");
  if (exchange.request.has_param("state")) state_named(state);
  const int64_t limit = exchange.request.has_param("limit") ? limit_of(exchange.parameter("limit")) : 100;
  Json out = Json::array();
  for (const auto& job : jobs.list(state, limit)) out.push_back(jobs.json(job));
  exchange.reply({{"jobs", out}});
}

void pick(JobService& jobs, const Exchange& exchange) {
  const Json wanted = exchange.json_body(kMostPickBytes);
  const Json candidate = wanted.value("candidate", Json());
  if (wanted.size() != 1 || !(candidate.is_string() || candidate.is_number_unsigned()))
    throw_user_error(
        {.where = "candidate", .wanted = "{\"candidate\": \"TILE:ID\"}", .got = wanted.dump(-1, ' ', false, Json::error_handler_t::replace)});
  const JobRecord job = jobs.find(exchange.parts.at("id"));
  exchange.reply(jobs.json(jobs.pick(job, candidate.is_string() ? candidate.get<std::string>() : candidate.dump())));
}

}  // namespace

std::vector<Route> job_routes(JobService& jobs) {
  const Json job = json_response("The job", reference("Job"));
  const auto found = [&jobs](const Exchange& exchange) { return jobs.find(exchange.parts.at("id")); };
  return {
      {.method = "POST",
       .path = "/v1/jobs",
       .operation = operation({.tag = "jobs",
                               .summary = "Queues a picture",
                               .responses = {{"202", job}},
                               .body = form({{"image", picture_file("The picture")},
                                             {"mask", picture_file("Of the same shape: white places are restored, black ones only enlarged")},
                                             {"options",
                                              {{"type", "string"},
                                               {"contentMediaType", "application/json"},
                                               {"contentSchema", reference("JobOptions")},
                                               {"description", "JSON: JobOptions"}}}},
                                            {"image"})}),
       .handle = [&jobs](const Exchange& exchange) { create(jobs, exchange); }},
      {.method = "GET",
       .path = "/v1/jobs",
       .operation = operation(
           {.tag = "jobs",
            .summary = "Jobs, newest first",
            .responses = {{"200", json_response("The jobs", {{"type", "object"},
                                                             {"required", {"jobs"}},
                                                             {"properties", {{"jobs", {{"type", "array"}, {"items", reference("Job")}}}}}})}},
            .parameters = {query("state", "Only those in this state", {{"type", "string"}, {"enum", state_names()}}),
                           query("limit", "At most so many", {{"type", "integer"}, {"minimum", 1}, {"maximum", kMostListed}, {"default", 100}})}}),
       .handle = [&jobs](const Exchange& exchange) { list(jobs, exchange); }},
      {.method = "GET",
       .path = "/v1/jobs/{id}",
       .operation = operation({.tag = "jobs", .summary = "One job", .responses = {{"200", job}}}),
       .handle = [&jobs, found](const Exchange& exchange) { exchange.reply(jobs.json(found(exchange))); }},
      {.method = "DELETE",
       .path = "/v1/jobs/{id}",
       .operation = operation({.tag = "jobs",
                               .summary = "Cancels a job that is not finished; removes one that is, with its files",
                               .responses = {{"200", json_response("Cancelled", reference("Job"))}, {"204", {{"description", "Removed"}}}}}),
       .handle =
           [&jobs](const Exchange& exchange) {
             const auto cancelled = jobs.cancel_or_remove(exchange.parts.at("id"));
             if (cancelled)
               exchange.reply(jobs.json(*cancelled));
             else
               exchange.response.status = 204;
           }},
      {.method = "GET",
       .path = "/v1/jobs/{id}/source",
       .operation = operation({.tag = "files",
                               .summary = "The picture that was sent, as browsers can show it",
                               .responses = {{"200", file_response("A picture", kPictures)}}}),
       .handle = [&jobs, found](const Exchange& exchange) { exchange.send(jobs.source(found(exchange)), false); }},
      {.method = "GET",
       .path = "/v1/jobs/{id}/preview",
       .operation =
           operation({.tag = "files", .summary = "The running estimate, small", .responses = {{"200", file_response("A picture", {"image/jpeg"})}}}),
       .handle =
           [&jobs, found](const Exchange& exchange) {
             const JobRecord job = found(exchange);
             if (!is_final(job.state)) jobs.feed().ask_for_preview(job.id);
             const auto file = jobs.files().preview(job.id);
             if (!std::filesystem::exists(file))
               throw HttpError{.status = 404, .code = "not_found", .message = "there is no preview yet", .hint = ""};
             exchange.send({.path = file, .type = "image/jpeg", .name = "preview.jpg"}, false);
           }},
      {.method = "GET",
       .path = "/v1/jobs/{id}/result",
       .operation =
           operation({.tag = "files",
                      .summary = "The restored picture",
                      .responses = {{"200", file_response("A picture", kPictures)}},
                      .parameters = {query("inline", "1: for showing, as browsers can show it", {{"type", "string"}, {"enum", {"0", "1"}}})}}),
       .handle =
           [&jobs, found](const Exchange& exchange) {
             const bool shown = exchange.parameter("inline") == "1";
             exchange.send(jobs.result(found(exchange), shown), !shown);
           }},
      {.method = "GET",
       .path = "/v1/jobs/{id}/candidates",
       .operation =
           operation({.tag = "search",
                      .summary = "The candidates of a search",
                      .responses = {{"200", json_response("They", {{"type", "object"},
                                                                   {"required", {"tiles", "candidates"}},
                                                                   {"properties",
                                                                    {{"tiles", {{"type", "integer"}}},
                                                                     {"candidates", {{"type", "array"}, {"items", reference("Candidate")}}}}}})}}}),
       .handle = [&jobs, found](const Exchange& exchange) { exchange.reply(jobs.candidates(found(exchange))); }},
      {.method = "GET",
       .path = "/v1/jobs/{id}/candidates/{candidate}/picture",
       .operation = operation({.tag = "search",
                               .summary = "A candidate's picture: TILE:ID",
                               .responses = {{"200", file_response("A picture", {"image/png", "image/jpeg"})}},
                               .parameters = {query("whole", "1: the whole tile of a finished candidate, 16 bits, with its padding",
                                                    {{"type", "string"}, {"enum", {"0", "1"}}})}}),
       .handle =
           [&jobs, found](const Exchange& exchange) {
             exchange.send(jobs.candidate(found(exchange), exchange.parts.at("candidate"), exchange.parameter("whole") == "1"), false);
           }},
      {.method = "POST",
       .path = "/v1/jobs/{id}/pick",
       .operation = operation(
           {.tag = "search",
            .summary = "Another finished candidate instead of the winner, without searching again",
            .responses = {{"200", json_response("The job with its new result", reference("Job"))}},
            .body = {{"required", true},
                     {"content",
                      {{"application/json",
                        {{"schema",
                          {{"type", "object"},
                           {"required", {"candidate"}},
                           {"additionalProperties", false},
                           {"properties",
                            {{"candidate", {{"type", "string"}, {"description", "TILE:ID; of one tile ID; several with commas"}}}}}}}}}}}}}),
       .handle = [&jobs](const Exchange& exchange) { pick(jobs, exchange); }},
  };
}

}  // namespace resflow::server
