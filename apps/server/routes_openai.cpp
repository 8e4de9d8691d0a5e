// OpenAI's image edits: POST /v1/images/edits. What the form holds beyond OpenAI's own fields are options of ours, by name.
#include <fmt/format.h>

#include <charconv>

#include "resflow/core/base64.h"
#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/core/registry.h"
#include "server/connection.h"
#include "server/openapi.h"
#include "server/routes.h"
#include "server/schema.h"

namespace resflow::server {
namespace {

using namespace openapi;

constexpr int64_t kMostCopies = 4;

// OpenAI's fields that change nothing here.
const std::set<std::string> kIgnored{"model", "user", "background", "input_fidelity", "moderation", "partial_images"};
// ... and those that would change the result, which must not be passed over in silence.
const std::set<std::string> kRefused{"stream"};

Json failure(const HttpError& error) {
  const std::string type = error.status == 401   ? "authentication_error"
                           : error.status == 429 ? "rate_limit_error"
                           : error.status >= 500 ? "server_error"
                                                 : "invalid_request_error";
  return {{"error",
           {{"message", error.hint.empty() ? error.message : error.message + ". " + error.hint},
            {"type", type},
            {"param", nullptr},
            {"code", error.code}}}};
}

int64_t whole_number(const std::string& field, const std::string& text, int64_t least, int64_t most) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
    throw_user_error({.where = field, .wanted = fmt::format("a whole number from {} to {}", least, most), .got = text});
  return value;
}

// What is asked for in one request.
struct Edit {
  JobOptions options;
  int64_t copies = 1;
  bool as_url = false;

  void set(const std::string& name, const std::string& text) {
    if (name == "prompt") {
      options.restore.caption = text;
    } else if (name == "n") {
      copies = whole_number(name, text, 1, kMostCopies);
    } else if (name == "size") {
      if (text == "auto" || text.empty()) return;
      const auto x = text.find('x');
      if (x == std::string::npos) throw_user_error({.where = name, .wanted = "auto, or WIDTHxHEIGHT", .got = text});
      options.restore.width = whole_number(name, text.substr(0, x), 1, 65500);
      options.restore.height = whole_number(name, text.substr(x + 1), 1, 65500);
    } else if (name == "response_format") {
      if (text != "b64_json" && text != "url") throw_unknown_name(name, text, {"b64_json", "url"});
      as_url = text == "url";
    } else if (name == "output_format") {
      if (text != "png" && text != "jpeg" && text != "webp") throw_unknown_name(name, text, {"png", "jpeg", "webp"});
      options.files.format = text == "jpeg" ? "jpg" : text;
    } else if (name == "output_compression") {
      options.files.quality = static_cast<int>(std::max<int64_t>(1, whole_number(name, text, 0, 100)));
    } else if (name == "quality" && text.find_first_not_of("0123456789") != std::string::npos) {
      return;  // auto, low, medium, high: ours is a number
    } else if (name == "priority") {
      options.priority = whole_number(name, text, -kMostPriority, kMostPriority);
    } else if (kRefused.contains(name)) {
      if (text != "false") throw_user_error({.where = name, .problem = "is not supported here", .hint = "The picture is sent when it is done"});
    } else if (!kIgnored.contains(name) && !options.set(name, text)) {
      auto known = options.names();
      known.insert(known.end(), {"prompt", "n", "size", "response_format", "output_format", "output_compression"});
      throw_unknown_name("field of the form", name, known);
    }
  }
};

void edit(JobService& jobs, const Exchange& exchange) {
  const Form form = exchange.form(jobs.files(), {"image", "image[]", "mask"});
  const ReceivedFile& picture = form.picture();
  std::optional<ReceivedMask> mask;
  if (const auto* file = form.mask()) mask.emplace(ReceivedMask{.file = *file, .kind = MaskKind::transparent});
  Edit edit;
  edit.options.files.format = "png";
  for (const auto& [name, text] : form.fields) edit.set(name, text);
  std::vector<JobOptions> wanted;
  for (int64_t i = 0; i < edit.copies; ++i) {
    wanted.push_back(edit.options);
    wanted.back().restore.seed += i;
  }
  const auto made = jobs.submit(picture, wanted, mask);
  Json data = Json::array();
  const std::string scheme = exchange.request.get_header_value("X-Forwarded-Proto") == "https" ? "https" : "http";
  const auto goes_on = [] { return Connection::current() == nullptr || !Connection::current()->hung_up(); };
  for (const auto& one : made) {
    const JobRecord job = jobs.wait(one.id, goes_on);
    if (job.state != State::done) {
      for (const auto& other : made) jobs.cancel(other.id);
      throw_unfinished(job);
    }
    if (edit.as_url)
      data.push_back({{"url", scheme + "://" + exchange.request.get_header_value("Host") + "/v1/jobs/" + job.id + "/result"}});
    else
      data.push_back({{"b64_json", encode_base64(read_text(jobs.result(job, false).path))}});
  }
  exchange.reply({{"created", made[0].created / 1000}, {"data", data}});
}

Json form_schema() {
  Json properties = {{"image", picture_file("The picture")},
                     {"mask", picture_file("Of the same shape: transparent places are restored, the others only enlarged")},
                     {"prompt", {{"type", "string"}, {"description", "What the picture shows: the caption"}}},
                     {"n", {{"type", "integer"}, {"minimum", 1}, {"maximum", kMostCopies}, {"description", "Results, of seeds one after another"}}},
                     {"size", {{"type", "string"}, {"pattern", "^(auto|[1-9][0-9]{0,3}x[1-9][0-9]{0,3})$"}}},
                     {"response_format", {{"type", "string"}, {"enum", {"b64_json", "url"}}}},
                     {"output_format", {{"type", "string"}, {"enum", {"png", "jpeg", "webp"}}}},
                     {"output_compression", {{"type", "integer"}, {"minimum", 0}, {"maximum", 100}}},
                     {"model", {{"type", "string"}}}};
  const JobOptions defaults;
  for (const auto& fields : {describe_fields(defaults.restore), describe_fields(defaults.search), describe_fields(defaults.files)})
    for (const auto& field : fields) properties[field.at("name").get<std::string>()] = json_schema(field);
  return form(properties, {"image"});
}

}  // namespace

std::vector<Route> openai_routes(JobService& jobs) {
  const Json picture = {{"type", "object"}, {"properties", {{"b64_json", {{"type", "string"}}}, {"url", {{"type", "string"}}}}}};
  return {{.method = "POST",
           .path = "/v1/images/edits",
           .operation = operation({.tag = "openai",
                                   .summary = "OpenAI's image edit: restores a picture and waits for it; every option is a field",
                                   .responses = {{"200", json_response("The results", {{"type", "object"},
                                                                                       {"required", {"created", "data"}},
                                                                                       {"properties",
                                                                                        {{"created", {{"type", "integer"}}},
                                                                                         {"data", {{"type", "array"}, {"items", picture}}}}}})}},
                                   .body = form_schema()}),
           .handle = [&jobs](const Exchange& exchange) { edit(jobs, exchange); },
           .failure = failure}};
}

}  // namespace resflow::server
