// Reading: sniff, open with that format's loader only, convert to sRGB, copy strip by strip into the float planes.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <vips/vips.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/image/codec.h"
#include "resflow/image/file_metadata.h"
#include "resflow/image/icc.h"
#include "resflow/image/texts.h"
#include "resflow/image/tiff_exif.h"
#include "resflow/image/vips_session.h"

namespace resflow::image {
namespace {

namespace fs = std::filesystem;

constexpr int64_t strip_rows = 64;

std::string sniff(std::string_view head) {
  const auto at = [&](size_t offset, std::string_view magic) {
    return head.size() >= offset + magic.size() && head.substr(offset, magic.size()) == magic;
  };
  if (at(0, "\x89PNG\r\n\x1a\n")) return "png";
  if (at(0, "\xff\xd8\xff")) return "jpg";
  if (at(0, "RIFF") && at(8, "WEBP")) return "webp";
  if (at(0, std::string_view("II*\0", 4)) || at(0, std::string_view("MM\0*", 4)) || at(0, std::string_view("II+\0", 4)) ||
      at(0, std::string_view("MM\0+", 4)))
    return "tiff";
  if (at(4, "ftypavif") || at(4, "ftypavis")) return "avif";
  if (at(4, "ftyphei") || at(4, "ftyphev") || at(4, "ftypmif1") || at(4, "ftypmsf1")) return "heic";
  if (at(0, "\xff\x0a") || at(4, "JXL \r\n\x87\n")) return "jxl";
  if (at(0, "GIF87a") || at(0, "GIF89a")) return "gif";
  if (at(0, "BM")) return "bmp";
  if (head.size() > 2 && head[0] == 'P' && head[1] >= '1' && head[1] <= '6' && std::isspace(static_cast<unsigned char>(head[2]))) return "ppm";
  return "";
}

// Which file it is, told apart from every way in which it is none.
std::string checked_format(const fs::path& path) {
  const auto refuse = [&](const std::string& problem, const std::string& hint = "") {
    throw_user_error({.where = path.string(), .problem = problem, .hint = hint});
  };
  std::error_code error;
  const auto status = fs::status(path, error);
  if (!fs::exists(status)) refuse("no such file", "Check the path");
  if (fs::is_directory(status)) refuse("is a folder, not a picture");
  std::ifstream in(path, std::ios::binary);
  if (!in) refuse(std::string("cannot be read: ") + std::strerror(errno));
  std::array<char, 32> head{};
  in.read(head.data(), head.size());
  if (in.gcount() == 0) refuse("the file is empty");
  const auto format = sniff({head.data(), static_cast<size_t>(in.gcount())});
  if (format.empty()) refuse("not a picture that can be read", "Readable: PNG, JPEG, WebP, TIFF, AVIF, HEIC, JPEG XL, GIF, BMP, PPM");
  return format;
}

// An open file: nothing but its header has been read.
struct Opened {
  std::string format;
  std::string bytes;  // of formats whose loader wants the whole file; outlives the image
  VipsPointer image;
};

Opened open_header(const fs::path& path, VipsFailOn fail_on) {
  Opened opened{.format = checked_format(path)};
  start_vips();
  vips_error_clear();
  VipsImage* image = nullptr;
  const auto missing = [&](const char* loader) {
    if (vips_type_find("VipsOperation", loader) == 0)
      throw_user_error({.where = path.string(), .problem = "the installed libvips cannot read " + opened.format, .hint = "Convert the file to PNG"});
  };
  if (opened.format == "bmp") {
    missing("magickload_buffer");
    opened.bytes = read_text(path);
    vips_magickload_buffer(opened.bytes.data(), opened.bytes.size(), &image, "fail_on", fail_on, nullptr);
  } else {
    const std::unique_ptr<VipsSource, Unref> source(vips_source_new_from_file(path.c_str()));
    const auto load = [&](auto loader, const char* name, auto... options) {
      missing(name);
      if (source) loader(source.get(), &image, "fail_on", fail_on, "access", VIPS_ACCESS_SEQUENTIAL, options..., nullptr);
    };
    if (opened.format == "png") load(vips_pngload_source, "pngload_source");
    if (opened.format == "jpg") load(vips_jpegload_source, "jpegload_source");
    if (opened.format == "webp") load(vips_webpload_source, "webpload_source");
    if (opened.format == "tiff") load(vips_tiffload_source, "tiffload_source");
    if (opened.format == "gif") load(vips_gifload_source, "gifload_source");
    if (opened.format == "ppm") load(vips_ppmload_source, "ppmload_source");
    if (opened.format == "jxl") load(vips_jxlload_source, "jxlload_source");
    if (opened.format == "avif" || opened.format == "heic") load(vips_heifload_source, "heifload_source");
  }
  opened.image.reset(image);
  return opened;
}

[[noreturn]] void throw_damaged(const fs::path& path, const std::string& format) {
  throw_user_error({.where = path.string(),
                    .problem = "damaged, cut short or unusual " + format + " file (" + take_vips_error() + ")",
                    .hint = "Open it in an image editor and save it again, or copy it anew"});
}

bool turned(int orientation) { return orientation >= 5; }

int bits_of(VipsImage* image) { return vips_image_get_format(image) == VIPS_FORMAT_UCHAR ? 8 : 16; }

void check_size(const fs::path& path, VipsImage* image, const DecodeLimits& limits) {
  const double pixels = static_cast<double>(vips_image_get_width(image)) * vips_image_get_height(image);
  if (pixels < 1) throw_user_error({.where = path.string(), .problem = "the picture has no pixels"});
  if (pixels > limits.max_pixels)
    throw_user_error({.where = path.string(),
                      .problem = "the picture is too large",
                      .wanted = fmt::format("at most {:.0f} pixels", limits.max_pixels),
                      .got = fmt::format("{} x {} = {:.0f} pixels", vips_image_get_width(image), vips_image_get_height(image), pixels),
                      .hint = "Raise max_pixels if the file is yours and memory allows"});
}

// A lazily evaluated chain of libvips operations; every step owns its result.
class Chain {
 public:
  explicit Chain(VipsImage* first) : now_(first) {}
  // operation(in, &out) as libvips' own functions; false (and nothing changed) where it fails.
  template <class Operation>
  bool step(Operation&& operation) {
    VipsImage* out = nullptr;
    if (operation(now_, &out) != 0) return false;
    owned_.emplace_back(out);
    now_ = out;
    return true;
  }
  VipsImage* get() const { return now_; }

 private:
  VipsImage* now_;
  std::vector<VipsPointer> owned_;
};

// Any sample type -> 8 or 16 bits unsigned. Floating point is 0..1, as image editors and scientific tools write it.
bool to_unsigned(Chain& chain) {
  const auto scaled_by = [&](double factor) {
    return chain.step([&](VipsImage* in, VipsImage** out) { return vips_linear1(in, out, factor, 0.5, nullptr); }) &&
           chain.step([](VipsImage* in, VipsImage** out) { return vips_cast(in, out, VIPS_FORMAT_USHORT, nullptr); });
  };
  switch (vips_image_get_format(chain.get())) {
    case VIPS_FORMAT_UCHAR:
    case VIPS_FORMAT_USHORT:
      return true;
    case VIPS_FORMAT_UINT:
      return scaled_by(65535.0 / 4294967295.0);
    case VIPS_FORMAT_FLOAT:
    case VIPS_FORMAT_DOUBLE:
      return scaled_by(65535.0);
    default:
      vips_error("resflow", "signed and complex samples are not supported");
      return false;
  }
}

// The picture as 8 or 16 bit samples, 1 or 3 sRGB colours and perhaps alpha.
struct Plan {
  std::vector<Chain> chains;  // keeps every stage alive
  VipsPointer joined;
  int colours = 3;
  bool alpha = false;
  float colour_max = 255, alpha_max = 255;
  bool grey = false;
};

// Colours -> sRGB. Returns false where libvips fails.
bool colours_to_srgb(Chain& chain, VipsInterpretation space, Metadata& metadata, std::vector<std::string>& notes) {
  const auto facts = profile_facts(metadata.icc);
  const int bands = vips_image_get_bands(chain.get());
  const bool cmyk = space == VIPS_INTERPRETATION_CMYK;
  const bool lab_like = space == VIPS_INTERPRETATION_LAB || space == VIPS_INTERPRETATION_LABS || space == VIPS_INTERPRETATION_XYZ ||
                        space == VIPS_INTERPRETATION_LCH || space == VIPS_INTERPRETATION_YXY;
  const bool linear_float = vips_band_format_isfloat(vips_image_get_format(chain.get())) && facts.name.find("inear") != std::string::npos;
  if (lab_like || (linear_float && bands == 3)) {
    if (linear_float && !lab_like &&
        !chain.step([](VipsImage* in, VipsImage** out) { return vips_copy(in, out, "interpretation", VIPS_INTERPRETATION_scRGB, nullptr); }))
      return false;
    metadata.icc.clear();
    notes.push_back("the file's colour space is written back as sRGB");
    return chain.step([](VipsImage* in, VipsImage** out) { return vips_colourspace(in, out, VIPS_INTERPRETATION_RGB16, nullptr); });
  }
  if (!to_unsigned(chain)) return false;
  const auto transform = [&](VipsImage* in, VipsImage** out) {
    if (cmyk)
      return vips_icc_transform(in, out, "srgb", "embedded", TRUE, "input_profile", "cmyk", "depth", 16, "intent", VIPS_INTENT_RELATIVE,
                                "black_point_compensation", TRUE, nullptr);
    return vips_icc_transform(in, out, "srgb", "embedded", TRUE, "depth", 16, "intent", VIPS_INTENT_RELATIVE, "black_point_compensation", TRUE,
                              nullptr);
  };
  if (cmyk) {
    metadata.icc.clear();
    notes.push_back("CMYK was converted to sRGB");
    return chain.step(transform);
  }
  if (metadata.icc.empty() || facts.is_srgb) return true;
  if (facts.color_space == (bands == 1 ? "GRAY" : "RGB ") && chain.step(transform)) return true;
  take_vips_error();
  notes.push_back("the ICC profile '" + facts.name + "' does not fit the picture; its colours are taken as sRGB");
  metadata.icc.clear();
  return true;
}

Plan plan_conversion(VipsImage* image, Metadata& metadata, std::vector<std::string>& notes, const fs::path& path) {
  Plan plan;
  const int bands = vips_image_get_bands(image);
  const auto space = vips_image_get_interpretation(image);
  const int colours = space == VIPS_INTERPRETATION_CMYK && bands >= 4 ? 4 : bands >= 3 ? 3 : 1;
  plan.alpha = bands > colours;
  if (bands > colours + 1) notes.push_back(fmt::format("{} extra channels were left out", bands - colours - 1));
  const auto extract = [&](int first, int count) {
    return [first, count](VipsImage* in, VipsImage** out) { return vips_extract_band(in, out, first, "n", count, nullptr); };
  };
  const auto full_scale = [](const Chain& chain) { return vips_image_get_format(chain.get()) == VIPS_FORMAT_UCHAR ? 255.f : 65535.f; };

  Chain colour(image), alpha(image);
  if (bands > colours && !colour.step(extract(0, colours))) throw_damaged(path, metadata.format);
  if (!colours_to_srgb(colour, space, metadata, notes)) throw_damaged(path, metadata.format);
  plan.grey = colours == 1;
  plan.colours = vips_image_get_bands(colour.get());
  plan.colour_max = full_scale(colour);
  VipsImage* joined = nullptr;
  if (plan.alpha) {
    if (!alpha.step(extract(colours, 1)) || !to_unsigned(alpha)) throw_damaged(path, metadata.format);
    plan.alpha_max = full_scale(alpha);
    if (vips_bandjoin2(colour.get(), alpha.get(), &joined, nullptr) != 0) throw_damaged(path, metadata.format);
  } else {
    joined = colour.get();
    g_object_ref(joined);
  }
  plan.joined.reset(joined);
  plan.chains.push_back(std::move(colour));
  plan.chains.push_back(std::move(alpha));
  return plan;
}

// Where source pixel (y, x) of an h x w file lands in the upright picture: origin + y * per_y + x * per_x, in elements.
struct Placement {
  int64_t origin, per_y, per_x;
};
Placement placement(int orientation, int64_t h, int64_t w) {
  switch (orientation) {
    case 2:
      return {w - 1, w, -1};
    case 3:
      return {h * w - 1, -w, -1};
    case 4:
      return {(h - 1) * w, -w, 1};
    case 5:
      return {0, 1, h};
    case 6:
      return {h - 1, -1, h};
    case 7:
      return {h * w - 1, -1, -h};
    case 8:
      return {(w - 1) * h, 1, -h};
    default:
      return {0, w, 1};
  }
}

template <class Sample>
void copy_strip(VipsRegion* region, const VipsRect& rect, const Plan& plan, const Placement& place, int64_t plane, float* pixels, float* alpha) {
  const int bands = region->im->Bands;
  for (int64_t y = rect.top; y < rect.top + rect.height; ++y) {
    const auto* row = reinterpret_cast<const Sample*>(VIPS_REGION_ADDR(region, 0, static_cast<int>(y)));
    float* out = pixels + place.origin + y * place.per_y;
    for (int64_t x = 0; x < rect.width; ++x, row += bands)
      for (int c = 0; c < 3; ++c) out[c * plane + x * place.per_x] = static_cast<float>(row[plan.colours == 1 ? 0 : c]) / plan.colour_max;
    if (alpha == nullptr) continue;
    row = reinterpret_cast<const Sample*>(VIPS_REGION_ADDR(region, 0, static_cast<int>(y)));
    for (int64_t x = 0; x < rect.width; ++x, row += bands)
      alpha[place.origin + y * place.per_y + x * place.per_x] = static_cast<float>(row[bands - 1]) / plan.alpha_max;
  }
}

Picture decode(const fs::path& path, const DecodeLimits& limits, VipsFailOn fail_on) {
  const Opened opened = open_header(path, fail_on);
  if (!opened.image) throw_damaged(path, opened.format);
  VipsImage* image = opened.image.get();
  check_size(path, image, limits);

  Picture picture{.bits = bits_of(image), .metadata = read_metadata(image)};
  picture.metadata.format = opened.format;
  if (opened.format == "tiff" && picture.metadata.exif.empty())
    if (auto exif = read_tiff_exif(path); !exif.empty()) take_exif(picture.metadata, std::move(exif));
  if (picture.metadata.pages > 1) picture.notes.push_back(fmt::format("{} frames or pages: only the first is used", picture.metadata.pages));
  const int orientation = vips_image_get_orientation(image);
  const Plan plan = plan_conversion(image, picture.metadata, picture.notes, path);
  picture.grey = plan.grey;

  const int64_t h = vips_image_get_height(image), w = vips_image_get_width(image);
  const int64_t upright_h = turned(orientation) ? w : h, upright_w = turned(orientation) ? h : w;
  picture.pixels = at::empty({3, upright_h, upright_w}, at::kFloat);
  if (plan.alpha) picture.alpha = at::empty({1, upright_h, upright_w}, at::kFloat);
  float* alpha = plan.alpha ? picture.alpha.data_ptr<float>() : nullptr;
  const auto place = placement(orientation, h, w);
  const std::unique_ptr<VipsRegion, Unref> region(vips_region_new(plan.joined.get()));
  for (int64_t top = 0; top < h; top += strip_rows) {
    const VipsRect rect{
        .left = 0, .top = static_cast<int>(top), .width = static_cast<int>(w), .height = static_cast<int>(std::min(strip_rows, h - top))};
    if (vips_region_prepare(region.get(), &rect) != 0) throw_damaged(path, opened.format);
    if (plan.joined->BandFmt == VIPS_FORMAT_UCHAR)
      copy_strip<uint8_t>(region.get(), rect, plan, place, h * w, picture.pixels.data_ptr<float>(), alpha);
    else
      copy_strip<uint16_t>(region.get(), rect, plan, place, h * w, picture.pixels.data_ptr<float>(), alpha);
  }
  return picture;
}

}  // namespace

std::map<std::string, std::string> read_texts(const fs::path& path) {
  const Opened opened = open_header(path, VIPS_FAIL_ON_ERROR);
  if (!opened.image) throw_damaged(path, opened.format);
  return read_metadata(opened.image.get()).text;
}

ImageInfo probe(const fs::path& path) {
  const Opened opened = open_header(path, VIPS_FAIL_ON_ERROR);
  if (!opened.image) throw_damaged(path, opened.format);
  VipsImage* image = opened.image.get();
  check_size(path, image, {.max_pixels = std::numeric_limits<double>::infinity()});
  const bool turn = turned(vips_image_get_orientation(image));
  return {.width = turn ? vips_image_get_height(image) : vips_image_get_width(image),
          .height = turn ? vips_image_get_width(image) : vips_image_get_height(image),
          .bits = bits_of(image),
          .bands = vips_image_get_bands(image),
          .pages = std::max(1, vips_image_get_n_pages(image)),
          .format = opened.format};
}

Picture read_picture(const fs::path& path, const DecodeLimits& limits) {
  start_vips();
  take_vips_warnings();
  // Strict first. Where only a warning stands against the file, its picture may be whole: it is used, and the person is told.
  try {
    return decode(path, limits, VIPS_FAIL_ON_WARNING);
  } catch (const UserError&) {
    take_vips_warnings();
    Picture picture = decode(path, limits, VIPS_FAIL_ON_ERROR);
    const auto warnings = take_vips_warnings();
    picture.notes.push_back("the file is slightly damaged" + (warnings.empty() ? "" : " (" + warnings + ")") + ": look at the result");
    return picture;
  }
}

}  // namespace resflow::image
