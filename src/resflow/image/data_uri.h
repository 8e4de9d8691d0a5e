// Pictures inside a page.
#pragma once

#include <filesystem>
#include <string>

namespace resflow::image {

// The file's bytes as "data:image/jpeg;base64,...", by its extension. Throws UserError where it cannot be read.
std::string data_uri(const std::filesystem::path& path);

}  // namespace resflow::image
