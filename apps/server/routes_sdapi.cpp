// Automatic1111's API, as far as it is about upscaling one picture.
#include <fmt/format.h>

#include <cmath>
#include <fstream>

#include "resflow/core/base64.h"
#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/core/registry.h"
#include "resflow/restore/batch.h"
#include "server/connection.h"
#include "server/openapi.h"
#include "server/routes.h"

namespace resflow::server {
namespace {

using namespace openapi;

constexpr double kMostScale = 16;

double number(const Json& body, const char* name, double otherwise, double least, double most) {
  if (!body.contains(name) || body.at(name).is_null()) return otherwise;
  const Json& value = body.at(name);
  if (!value.is_number() || !(value.get<double>() >= least && value.get<double>() <= most))
    throw_user_error({.where = name, .wanted = fmt::format("a number from {} to {}", least, most), .got = text_of(value)});
  return value.get<double>();
}

bool flag(const Json& body, const char* name, bool otherwise) {
  if (!body.contains(name) || body.at(name).is_null()) return otherwise;
  if (!body.at(name).is_boolean()) throw_user_error({.where = name, .wanted = "true or false", .got = text_of(body.at(name))});
  return body.at(name).get<bool>();
}

std::unique_ptr<ReceivedFile> received(JobService& jobs, const Json& body) {
  if (!body.contains("image") || !body.at("image").is_string()) throw_user_error({.where = "image", .wanted = "a picture in base64"});
  std::string_view text = body.at("image").get_ref<const std::string&>();
  if (text.starts_with("data:")) text.remove_prefix(std::min(text.find(',') + 1, text.size()));
  const auto bytes = decode_base64(text);
  if (!bytes || bytes->empty()) throw_user_error({.where = "image", .problem = "is no base64"});
  auto file = std::make_unique<ReceivedFile>(jobs.files().new_upload());
  std::ofstream out(file->path, std::ios::binary | std::ios::trunc);
  out.write(bytes->data(), static_cast<std::streamsize>(bytes->size()));
  out.close();
  if (!out) throw HttpError{.status = 503, .code = "no_space", .message = "the picture cannot be stored", .hint = "Try again later"};
  file->name = "picture";
  return file;
}

// The middle of a picture in the shape of width x height, as the source of a result of just that size.
std::unique_ptr<ReceivedFile> cropped(JobService& jobs, const ReceivedFile& file, double width, double height) {
  return jobs.with_pictures([&] {
    image::Picture picture = image::read_picture(file.path, {.max_pixels = static_cast<double>(jobs.options().max_pixels)});
    const auto h = static_cast<double>(picture.pixels.size(1)), w = static_cast<double>(picture.pixels.size(2));
    const double by = std::max(width / w, height / h);
    const auto rows = std::clamp<int64_t>(std::llround(height / by), 1, picture.pixels.size(1)),
               columns = std::clamp<int64_t>(std::llround(width / by), 1, picture.pixels.size(2));
    const auto middle = [&](const Tensor& plane) {
      return plane.narrow(1, (plane.size(1) - rows) / 2, rows).narrow(2, (plane.size(2) - columns) / 2, columns).contiguous();
    };
    picture.pixels = middle(picture.pixels);
    if (picture.alpha.defined()) picture.alpha = middle(picture.alpha);
    auto out = std::make_unique<ReceivedFile>(jobs.files().new_upload());
    out->name = file.name;
    image::write_picture(out->path, picture, {.format = "png"});
    return out;
  });
}

void upscale(JobService& jobs, const Exchange& exchange) {
  const Json body = exchange.json_body(exchange.max_body);
  auto file = received(jobs, body);
  const Json upscaler = body.value("upscaler_1", Json("resflow"));
  if (!upscaler.is_string() || (upscaler != "resflow" && upscaler != "None"))
    throw_unknown_name("upscaler", upscaler.is_string() ? upscaler.get<std::string>() : text_of(upscaler), {"resflow", "None"});
  JobOptions options;
  options.files.format = "png";
  options.restore.scale = upscaler == "None" ? 1 : number(body, "upscaling_resize", 2, 1, kMostScale);
  const double mode = number(body, "resize_mode", 0, 0, 1);
  if (mode != 0 && mode != 1) throw_user_error({.where = "resize_mode", .wanted = "0 or 1", .got = text_of(body.at("resize_mode"))});
  if (mode == 1) {  // to a size: the picture covers it, and is cut to it where that is asked for
    const double width = number(body, "upscaling_resize_w", 512, 1, 65500), height = number(body, "upscaling_resize_h", 512, 1, 65500);
    const auto info = image::probe(file->path);
    options.restore.scale = 0;
    if (flag(body, "upscaling_crop", true)) {
      if (static_cast<double>(info.width) * static_cast<double>(info.height) <= static_cast<double>(jobs.options().max_pixels))
        file = cropped(jobs, *file, width, height);
      options.restore.width = std::llround(width);
      options.restore.height = std::llround(height);
    } else {
      const double by = std::max(width / static_cast<double>(info.width), height / static_cast<double>(info.height));
      options.restore.width = std::max<int64_t>(1, std::llround(by * static_cast<double>(info.width)));
      options.restore.height = std::max<int64_t>(1, std::llround(by * static_cast<double>(info.height)));
    }
  }
  const auto made = jobs.submit(*file, {options});
  const JobRecord job = jobs.wait(made[0].id, [] { return Connection::current() == nullptr || !Connection::current()->hung_up(); });
  if (job.state != State::done) throw_unfinished(job);
  exchange.reply(
      {{"html_info", "<p>" + restore::parameters_text(job.manifest) + "</p>"}, {"image", encode_base64(read_text(jobs.result(job, false).path))}});
}

void progress(JobService& jobs, const Exchange& exchange) {
  const auto job = jobs.running_job();
  Json told = job ? jobs.feed().sight(job->id).progress_json : Json();
  if (told.is_null()) told = Json::object();
  const auto value = [&](const char* name) { return told.contains(name) && told.at(name).is_number() ? told.at(name) : Json(0); };
  Json picture;
  if (job && exchange.parameter("skip_current_image") != "true") {
    jobs.feed().ask_for_preview(job->id);
    if (const auto file = jobs.files().preview(job->id); std::filesystem::exists(file)) picture = encode_base64(read_text(file));
  }
  exchange.reply({{"progress", value("fraction")},
                  {"eta_relative", value("seconds_left")},
                  {"state",
                   {{"skipped", false},
                    {"interrupted", false},
                    {"job", job ? job->id : ""},
                    {"job_count", jobs.waiting() + jobs.running()},
                    {"job_timestamp", job ? iso_time(job->started) : "0"},
                    {"job_no", 0},
                    {"sampling_step", value("done")},
                    {"sampling_steps", value("of")}}},
                  {"current_image", picture},
                  {"textinfo", nullptr}});
}

}  // namespace

std::vector<Route> sdapi_routes(JobService& jobs) {
  const Json object = {{"type", "object"}};
  const Json body = {{"type", "object"},
                     {"required", {"image"}},
                     {"properties",
                      {{"image", {{"type", "string"}, {"description", "Base64, or a data URL"}}},
                       {"resize_mode", {{"type", "integer"}, {"enum", {0, 1}}}},
                       {"upscaling_resize", {{"type", "number"}, {"minimum", 1}, {"maximum", kMostScale}, {"default", 2}}},
                       {"upscaling_resize_w", {{"type", "integer"}, {"minimum", 1}, {"maximum", 65500}}},
                       {"upscaling_resize_h", {{"type", "integer"}, {"minimum", 1}, {"maximum", 65500}}},
                       {"upscaling_crop", {{"type", "boolean"}}},
                       {"upscaler_1", {{"type", "string"}, {"enum", {"resflow", "None"}}}}}}};
  return {
      {.method = "POST",
       .path = "/sdapi/v1/extra-single-image",
       .operation = operation({.tag = "sdapi",
                               .summary = "Automatic1111's extras: upscales one picture and waits for it",
                               .responses = {{"200", json_response("The result in base64", object)}},
                               .body = {{"required", true}, {"content", {{"application/json", {{"schema", body}}}}}}}),
       .handle = [&jobs](const Exchange& exchange) { upscale(jobs, exchange); }},
      {.method = "GET",
       .path = "/sdapi/v1/progress",
       .operation =
           operation({.tag = "sdapi",
                      .summary = "How far the running job is",
                      .responses = {{"200", json_response("Progress", object)}},
                      .parameters = {query("skip_current_image", "true: without the preview", {{"type", "string"}, {"enum", {"true", "false"}}})}}),
       .handle = [&jobs](const Exchange& exchange) { progress(jobs, exchange); }},
      {.method = "GET",
       .path = "/sdapi/v1/upscalers",
       .operation = operation({.tag = "sdapi",
                               .summary = "Names for upscaler_1",
                               .responses = {{"200", json_response("A list", {{"type", "array"}, {"items", object}})}}}),
       .handle =
           [&jobs](const Exchange& exchange) {
             const auto entry = [](const std::string& name, const Json& model) {
               return Json{{"name", name}, {"model_name", model}, {"model_path", nullptr}, {"model_url", nullptr}, {"scale", 4}};
             };
             exchange.reply(Json::array({entry("None", nullptr), entry("resflow", jobs.model_name())}));
           }},
  };
}

}  // namespace resflow::server
