// The texts in a picture's file, without its pixels.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace resflow::image {

// Key -> text, as Metadata::text: "parameters", "resflow" and what else there is. Throws UserError as probe() does.
std::map<std::string, std::string> read_texts(const std::filesystem::path& path);

}  // namespace resflow::image
