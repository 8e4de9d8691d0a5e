// PNG texts beyond ASCII, which libvips would write as tEXt in the wrong encoding. Internal to image/.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace resflow::image {

bool is_ascii(const std::string& text);
// Bytes as UTF-8: themselves where they are valid UTF-8, else read as Latin-1 (tEXt's encoding).
std::string as_utf8(const std::string& bytes);

// Puts an uncompressed iTXt chunk per text (UTF-8) after the header of a PNG file. Throws UserError where it cannot be written.
void insert_png_texts(const std::filesystem::path& png, const std::map<std::string, std::string>& texts);

}  // namespace resflow::image
