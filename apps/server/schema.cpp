#include "server/schema.h"

#include "server/job_options.h"

namespace resflow::server {

Json options_schema(const ServeOptions& limits) {
  const JobOptions defaults;
  Json restoring = describe_fields(defaults.restore);
  if (limits.captions.captioner != "none")
    for (auto& field : restoring)
      if (field["name"] == "caption") field["help"] = field["help"].get<std::string>() + "; empty = the server has the picture described";
  return {{"groups",
           {{{"name", "restore"}, {"title", "Restoring"}, {"fields", restoring}},
            {{"name", "search"}, {"title", "Search"}, {"fields", describe_fields(defaults.search)}},
            {{"name", "files"}, {"title", "Files"}, {"fields", describe_fields(defaults.files)}}}},
          {"priority", {{"minimum", -kMostPriority}, {"maximum", kMostPriority}, {"default", 0}}},
          {"limits",
           {{"body_bytes", limits.max_body},
            {"pixels", limits.max_pixels},
            {"queue", limits.max_queue},
            {"tile", limits.max_tile},
            {"seconds", limits.job_timeout}}}};
}

Json json_schema(const Json& field) {
  const auto type = field.at("type").get<std::string>();
  Json out = {{"description", field.at("help")}, {"default", field.at("default")}};
  Json& values = type == "list" ? out["items"] : out;
  if (type == "list") out["type"] = "array";
  values["type"] = type == "list" ? field.at("items") : field.at("type");
  if (field.contains("choices")) values["enum"] = field.at("choices");
  for (const char* bound : {"minimum", "maximum"})
    if (field.contains(bound)) values[bound] = field.at(bound);
  return out;
}

}  // namespace resflow::server
