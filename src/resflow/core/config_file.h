// Configurations that other programs write (config.json of diffusers and transformers): what a struct's fields list is read and checked;
// the rest of the file, of which there is plenty, is theirs.
#pragma once

#include <filesystem>

#include "resflow/core/fields.h"

namespace resflow {

// A JSON object. Throws UserError where the file cannot be read or is none.
Json read_json_object(const std::filesystem::path& path);

// Absent keys and nulls keep their defaults, which are the writing program's own. Throws UserError on a wrong type or value.
template <HasFields Config>
void config_from_json(Config& config, const Json& json, const std::string& where) {
  Json known = Json::object();
  for (const auto& name : field_names(config))
    if (json.contains(name) && !json.at(name).is_null()) known[name] = json.at(name);
  fields_from_json(config, known, where);
}

template <HasFields Config>
Config read_config(const std::filesystem::path& path) {
  Config config;
  config_from_json(config, read_json_object(path), path.string());
  return config;
}

}  // namespace resflow
