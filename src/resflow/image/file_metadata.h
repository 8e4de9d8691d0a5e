// Metadata between our struct and libvips' header fields. Internal to image/.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "resflow/image/codec.h"

struct _VipsImage;

namespace resflow::image {

// All but `format`, which the caller knows.
Metadata read_metadata(_VipsImage* image);

// An EXIF block that the file has but libvips does not see, as if it did: "Exif\0\0" and what follows.
void take_exif(Metadata& metadata, std::string exif);

// Puts EXIF (orientation 1), XMP, IPTC and texts on an image that is about to be saved as `format`; not the ICC profile.
// `texts` wins over the texts of the metadata. Returns notes about what had to be left out.
std::vector<std::string> attach_metadata(_VipsImage* image, const Metadata& metadata, const std::map<std::string, std::string>& texts,
                                         const std::string& format);

// The texts that attach_metadata leaves to insert_png_texts().
std::map<std::string, std::string> png_texts_beyond_ascii(const Metadata& metadata, const std::map<std::string, std::string>& texts);

// `xmp` (may be empty) with key -> text as attributes of our namespace. For tests.
std::string xmp_with_texts(std::string xmp, const std::map<std::string, std::string>& texts);

}  // namespace resflow::image
