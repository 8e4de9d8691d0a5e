#include "server/job_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "resflow/core/parse_json.h"
#include "server/http_error.h"

namespace resflow::server {
namespace {

// "4" -> 4 for a number, "true" -> true, "a,b" -> ["a", "b"]; checked by fields_from_json.
template <class Value>
Json json_of_text(const std::string& text) {
  if constexpr (std::is_same_v<Value, std::string>) return text;
  if constexpr (std::is_same_v<Value, std::vector<std::string>> || std::is_same_v<Value, std::vector<double>>) {
    Json out = Json::array();
    for (size_t at = 0; at <= text.size() && !text.empty();) {
      const size_t comma = std::min(text.find(',', at), text.size());
      out.push_back(json_of_text<typename Value::value_type>(text.substr(at, comma - at)));
      at = comma + 1;
    }
    return out;
  }
  const Json parsed = parse_json(text);
  return parsed.is_discarded() ? Json(text) : parsed;
}

template <HasFields Options>
bool set_field(Options& options, const std::string& name, const std::string& text) {
  Json json = Json::object();
  Options::fields(options, [&](const std::string& field, auto& value, const std::string&, const auto&...) {
    if (field == name) json[field] = json_of_text<std::remove_cvref_t<decltype(value)>>(text);
  });
  if (json.empty()) return false;
  fields_from_json(options, json);
  return true;
}

}  // namespace

JobOptions JobOptions::from_json(const Json& json) {
  if (!json.is_object()) throw_user_error({.where = "options", .wanted = "an object", .got = json.type_name()});
  JobOptions out;
  for (const auto& [key, value] : json.items()) {
    if (key == "restore") {
      fields_from_json(out.restore, value, key);
    } else if (key == "search") {
      fields_from_json(out.search, value, key);
    } else if (key == "files") {
      fields_from_json(out.files, value, key);
    } else if (key == "priority") {
      if (!value.is_number_integer() || value < -kMostPriority || value > kMostPriority)
        throw_user_error(
            {.where = "priority", .wanted = fmt::format("a whole number from {} to {}", -kMostPriority, kMostPriority), .got = value.dump()});
      out.priority = value.get<int64_t>();
    } else {
      throw_unknown_name("group in options", key, {"restore", "search", "files", "priority"});
    }
  }
  out.check();
  return out;
}

Json JobOptions::to_json() const {
  return {{"restore", fields_to_json(restore)}, {"search", fields_to_json(search)}, {"files", fields_to_json(files)}};
}

bool JobOptions::set(const std::string& name, const std::string& text) {
  return set_field(restore, name, text) || set_field(search, name, text) || set_field(files, name, text);
}

std::vector<std::string> JobOptions::names() const {
  auto out = field_names(restore);
  for (const auto& more : {field_names(search), field_names(files)}) out.insert(out.end(), more.begin(), more.end());
  return out;
}

void JobOptions::check() const {
  restore::check_options(restore);
  search::check_search(search);
  check_fields(files);
  if (files.bits != 0 && files.bits != 8 && files.bits != 16)
    throw_user_error({.where = "bits", .problem = "is out of range", .wanted = "8 or 16, or 0", .got = std::to_string(files.bits)});
  if (files.format != "auto" && !image::can_write(files.format))
    throw_user_error({.where = "format", .problem = "this server cannot write " + files.format, .hint = "Choose png"});
}

void JobOptions::fit(const image::ImageInfo& source, const ServeOptions& limits, int64_t usual_tile) {
  const auto refuse = [&](const std::string& what, double pixels, const std::string& hint) {
    throw HttpError{.status = 413,
                    .code = "too_many_pixels",
                    .message = fmt::format("{} is too large: wanted at most {} pixels, got {:.0f}", what, limits.max_pixels, pixels),
                    .hint = hint};
  };
  const double pixels = static_cast<double>(source.width) * static_cast<double>(source.height);
  if (pixels > static_cast<double>(limits.max_pixels)) refuse("the picture", pixels, "Send a smaller one");
  const auto size = restore::target_size(restore, {.width = source.width, .height = source.height});
  const double made = static_cast<double>(size.width) * static_cast<double>(size.height);
  if (made > static_cast<double>(limits.max_pixels)) refuse("the result", made, "Choose a smaller scale");
  if (restore.tile == 0 && usual_tile > limits.max_tile) restore.tile = limits.max_tile;
  if (restore.tile > limits.max_tile && std::max(size.width, size.height) > limits.max_tile)
    throw_user_error({.where = "tile",
                      .problem = "is too large for this server",
                      .wanted = fmt::format("at most {}", limits.max_tile),
                      .got = std::to_string(restore.tile)});
  if (search.batch == 0 || search.batch > limits.max_batch) search.batch = limits.max_batch;
  if (files.format == "auto") files.format = image::can_write(source.format) ? source.format : "png";
}

}  // namespace resflow::server
