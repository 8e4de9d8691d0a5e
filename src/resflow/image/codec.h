// Picture files. Any of PNG, JPEG, WebP, TIFF, AVIF/HEIC, JPEG XL, GIF, BMP, PPM -> float sRGB and back, with what came along
// in the file: alpha, EXIF, XMP, IPTC, the ICC profile, bit depth, text.
//
// Memory, per pixel of the picture: reading 12 bytes (the float result; 16 with alpha) plus one strip of rows, and what the
// format's own library holds (progressive JPEG, WebP, AVIF, GIF, BMP: the whole picture at 3-8 bytes). Writing: nothing beyond
// the picture itself but strips (JPEG, WebP and AVIF: the whole picture at 3-8 bytes).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "resflow/core/fields.h"
#include "resflow/core/tensor.h"

namespace resflow::image {

// What a file carries besides pixels. Blobs are raw bytes; empty = the file has none.
struct Metadata {
  std::string exif, xmp, iptc, icc;
  std::string icc_name;                            // the profile's description, "" without one
  std::map<std::string, std::string> exif_fields;  // the decoded EXIF tags, in libvips' notation; orientation is already applied
  std::map<std::string, std::string> text;         // PNG text chunks; of other formats EXIF UserComment as "parameters"
  double pixels_per_mm = 0;                        // 0 = unknown
  std::string format;                              // png | jpg | webp | tiff | avif | heic | jxl | gif | bmp | ppm
  int pages = 1;                                   // frames of an animation, pages of a TIFF
};

struct Picture {
  Tensor pixels;      // float [3, H, W], sRGB, 0..1, contiguous, CPU
  Tensor alpha;       // float [1, H, W], 0..1, not premultiplied; undefined where the file has none
  int bits = 8;       // per sample, of the source: 8 or 16 (float sources: 16)
  bool grey = false;  // the source has one colour channel; `pixels` holds it three times
  Metadata metadata;
  std::vector<std::string> notes;  // what a person should know: frames left out, a damaged file, a profile replaced
};

struct ImageInfo {
  int64_t width = 0, height = 0;  // as shown: after the EXIF orientation
  int bits = 8;                   // 8 or 16
  int bands = 3;                  // of the file: colours and alpha
  int pages = 1;
  std::string format;
};

struct DecodeLimits {
  double max_pixels = 268435456;  // 16384 x 16384

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("max_pixels", o.max_pixels, "Largest picture that is decoded, in pixels", Range{1, 1e12});
  }
};

struct EncodeOptions {
  std::string format = "auto";
  int quality = 0;
  int bits = 0;
  bool lossless = false;
  bool grey = false;
  bool metadata = true;
  std::map<std::string, std::string> text;  // key -> text: PNG text chunks; elsewhere "parameters" = EXIF UserComment, others in XMP

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("format", o.format, "Picture format; auto = by the file's extension", OneOf{{"auto", "png", "jpg", "webp", "tiff", "avif"}});
    visit("quality", o.quality, "1..100 for jpg, webp, avif; 0 = 95, 92, 80", Range{0, 100});
    visit("bits", o.bits, "Bits per sample, 8 or 16; 0 = the source's", Range{0, 16});
    visit("lossless", o.lossless, "Lossless webp and avif");
    visit("grey", o.grey, "Write one grey channel");
    visit("metadata", o.metadata, "Keep EXIF, XMP, IPTC, the ICC profile and texts");
  }
};

// The header only. Throws UserError: missing, a folder, empty, not a picture, damaged.
ImageInfo probe(const std::filesystem::path& path);

// Decodes the first page. EXIF orientation is applied and reset to 1; an embedded ICC profile, CMYK, Lab and grey become sRGB.
// Throws UserError as probe() does, and for truncated files and pictures above the limit (checked before any pixel is decoded).
Picture read_picture(const std::filesystem::path& path, const DecodeLimits& limits = {});

// Writes whole or not at all. A source's RGB profile is converted back to and embedded. What the format cannot hold is left
// out and told in the returned notes: 16 bits (-> 8), alpha (flattened on white), texts. Throws UserError: unknown extension,
// too large for the format, unwritable, disk full. NaN or infinity in the pixels is a bug (c10::Error) and never written.
std::vector<std::string> write_picture(const std::filesystem::path& path, const Picture& picture, const EncodeOptions& options = {});

// "jpg" of "a.JPEG"; "" where the extension is none that write_picture knows.
std::string format_of_extension(const std::filesystem::path& path);
// Whether this machine's libvips can write the format.
bool can_write(const std::string& format);

}  // namespace resflow::image
