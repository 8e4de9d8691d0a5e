// The manifest that stands in a restored picture, and doing the same again.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

#include "resflow/core/fields.h"

namespace resflow::cli {

// The manifest in the picture's text. Throws UserError where the file is no picture, or holds none.
Json recorded_manifest(const std::filesystem::path& picture);

// Fields that the command line did not set become what the record says; what the record does not know keeps its default, and what
// the fields do not know is left alone. add_options() must have made the command's options of them. Throws UserError: wrong types, out of range.
template <HasFields Options>
void take_recorded(const CLI::App& app, Options& options, const Json& record, const std::vector<std::string>& except = {}) {
  Json wanted = Json::object();
  for (const auto& name : field_names(options)) {
    std::string flag = "--" + name;
    std::replace(flag.begin(), flag.end(), '_', '-');
    if (!record.contains(name) || app.count(flag) > 0 || std::find(except.begin(), except.end(), name) != except.end()) continue;
    wanted[name] = record.at(name);
  }
  fields_from_json(options, wanted, "the recorded options");
}

}  // namespace resflow::cli
