// EXIF in TIFF files, which libvips neither reads nor writes there. A TIFF's first directory holds the tags of maker, author and time itself,
// and points to the EXIF and GPS directories; the layout is that of an EXIF block (EXIF 2.32, 4.6; BigTIFF's is wider). Internal to image/.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace resflow::image {

// -> an EXIF block as a JPEG holds it, "Exif\0\0" and a little-endian TIFF without pixels, thumbnail and orientation; "" where the file has
// none or is damaged. Never throws.
std::string read_tiff_exif(const std::filesystem::path& tiff);

// Appends what the block (with or without "Exif\0\0") tells to a TIFF that libvips wrote; tags that are there stay. The sizes that EXIF keeps beside
// the TIFF's own become width and height. A damaged block adds nothing. Throws UserError where the file cannot be written.
void add_tiff_exif(const std::filesystem::path& tiff, const std::string& exif, int64_t width, int64_t height);

}  // namespace resflow::image
