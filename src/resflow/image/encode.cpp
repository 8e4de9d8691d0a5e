// Writing: the float planes are quantised strip by strip while libvips encodes.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vips/vips.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/image/codec.h"
#include "resflow/image/file_metadata.h"
#include "resflow/image/icc.h"
#include "resflow/image/png_text.h"
#include "resflow/image/tiff_exif.h"
#include "resflow/image/vips_session.h"

namespace resflow::image {
namespace {

namespace fs = std::filesystem;

struct Format {
  std::string name;
  const char* saver;
  bool sixteen_bits, alpha;
  int64_t max_side;
  int default_quality;
};
const std::vector<Format>& formats() {
  static const std::vector<Format> all{{"png", "pngsave_target", true, true, 2147483647, 0},
                                       {"jpg", "jpegsave_target", false, false, 65500, 95},
                                       {"webp", "webpsave_target", false, true, 16383, 92},
                                       {"tiff", "tiffsave_target", true, true, 2147483647, 0},
                                       {"avif", "heifsave_target", false, true, 16384, 80}};
  return all;
}

const Format& format_named(const std::string& name, const fs::path& path) {
  for (const auto& format : formats())
    if (format.name == name) return format;
  throw_user_error({.where = path.string(),
                    .problem = "cannot tell the format to write",
                    .wanted = "an extension .png .jpg .webp .tif .avif, or --format",
                    .got = path.extension().empty() ? "no extension" : path.extension().string()});
}

bool all_finite(const Tensor& tensor) {
  const float* data = tensor.data_ptr<float>();
  const int64_t bad = at::parallel_reduce(
      0, tensor.numel(), 1 << 18, int64_t{0},
      [&](int64_t begin, int64_t end, int64_t count) {
        for (int64_t i = begin; i < end; ++i) count += std::isfinite(data[i]) ? 0 : 1;
        return count;
      },
      std::plus<int64_t>());
  return bad == 0;
}

// What the row generator reads. Outlives the encoding.
struct Planes {
  const float* data = nullptr;      // [channels, height, width]
  const float* on_white = nullptr;  // alpha to flatten with, or none
  int64_t width = 0, plane = 0;
  int channels = 3;   // of data
  bool luma = false;  // three channels in, one out
};

template <class Sample>
int generate_rows(VipsRegion* out, void*, void* a, void*, gboolean*) {
  constexpr float full = sizeof(Sample) == 1 ? 255.f : 65535.f;
  const auto& p = *static_cast<const Planes*>(a);
  const VipsRect& r = out->valid;
  const auto quantised = [&](float value, int64_t at) {
    if (p.on_white != nullptr) value = 1.f + p.on_white[at] * (value - 1.f);
    return static_cast<Sample>(std::clamp(value, 0.f, 1.f) * full + 0.5f);
  };
  for (int y = r.top; y < r.top + r.height; ++y) {
    auto* to = reinterpret_cast<Sample*>(VIPS_REGION_ADDR(out, r.left, y));
    int64_t at = y * p.width + r.left;
    for (int x = 0; x < r.width; ++x, ++at) {
      if (p.luma) {
        *to++ = quantised(0.299f * p.data[at] + 0.587f * p.data[p.plane + at] + 0.114f * p.data[2 * p.plane + at], at);
      } else {
        for (int c = 0; c < p.channels; ++c) *to++ = quantised(p.data[c * p.plane + at], at);
      }
    }
  }
  return 0;
}

// Thrown inside, turned into a UserError that names the target.
struct VipsFailure {
  std::string text;
};
void check(int result) {
  if (result != 0) throw VipsFailure{take_vips_error()};
}
template <class Operation>
VipsPointer made(Operation&& operation) {
  VipsImage* out = nullptr;
  check(operation(&out));
  return VipsPointer(out);
}

VipsPointer image_of(const Planes& planes, int bits) {
  VipsPointer image(vips_image_new());
  const int bands = planes.luma ? 1 : planes.channels;
  const auto space = bands == 1 ? (bits == 16 ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_B_W)
                                : (bits == 16 ? VIPS_INTERPRETATION_RGB16 : VIPS_INTERPRETATION_sRGB);
  vips_image_init_fields(image.get(), static_cast<int>(planes.width), static_cast<int>(planes.plane / planes.width), bands,
                         bits == 16 ? VIPS_FORMAT_USHORT : VIPS_FORMAT_UCHAR, VIPS_CODING_NONE, space, 1.0, 1.0);
  check(vips_image_pipelinev(image.get(), VIPS_DEMAND_STYLE_THINSTRIP, nullptr));
  check(vips_image_generate(image.get(), nullptr, bits == 16 ? generate_rows<uint16_t> : generate_rows<uint8_t>, nullptr,
                            const_cast<Planes*>(&planes), nullptr));
  return image;
}

// Bytes that libvips can open by a path, without a file on disk.
class NamedBytes {
 public:
  explicit NamedBytes(const std::string& bytes) : fd_(::memfd_create("icc", MFD_CLOEXEC)) {
    if (fd_ < 0 || ::write(fd_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) throw VipsFailure{"no memory for the ICC profile"};
  }
  ~NamedBytes() {
    if (fd_ >= 0) ::close(fd_);
  }
  NamedBytes(const NamedBytes&) = delete;
  NamedBytes& operator=(const NamedBytes&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

// sRGB -> the source's own profile. In one step: by way of Lab or XYZ (vips_icc_import, vips_icc_export) lcms takes coarse
// tables, wrong by up to 12/255 in saturated darks.
VipsPointer to_profile(VipsImage* srgb, const std::string& icc, int bits) {
  const NamedBytes profile(icc);
  return made([&](VipsImage** out) {
    return vips_icc_transform(srgb, out, profile.path().c_str(), "input_profile", "srgb", "depth", bits, "intent", VIPS_INTENT_RELATIVE,
                              "black_point_compensation", TRUE, nullptr);
  });
}

void save(VipsImage* image, const fs::path& path, const Format& format, const EncodeOptions& options) {
  const std::unique_ptr<VipsTarget, Unref> target(vips_target_new_to_file(path.c_str()));
  if (!target) throw VipsFailure{take_vips_error()};
  const int quality = options.quality > 0 ? options.quality : format.default_quality;
  const gboolean strip = options.metadata ? FALSE : TRUE, lossless = options.lossless ? TRUE : FALSE;
  VipsTarget* to = target.get();
  if (format.name == "png") check(vips_pngsave_target(image, to, "strip", strip, nullptr));
  if (format.name == "jpg") check(vips_jpegsave_target(image, to, "Q", quality, "optimize_coding", TRUE, "strip", strip, nullptr));
  if (format.name == "webp") check(vips_webpsave_target(image, to, "Q", quality, "lossless", lossless, "strip", strip, nullptr));
  if (format.name == "avif")
    check(vips_heifsave_target(image, to, "compression", VIPS_FOREIGN_HEIF_COMPRESSION_AV1, "Q", quality, "lossless", lossless, "strip", strip,
                               nullptr));
  if (format.name == "tiff")
    check(vips_tiffsave_target(image, to, "compression", VIPS_FOREIGN_TIFF_COMPRESSION_DEFLATE, "predictor", VIPS_FOREIGN_TIFF_PREDICTOR_HORIZONTAL,
                               "bigtiff", VIPS_IMAGE_SIZEOF_IMAGE(image) > 3'500'000'000ULL ? TRUE : FALSE, "strip", strip, nullptr));
}

// Fails early, with the plain reason, where nothing could be written.
void check_target(const fs::path& path, const Format& format, int64_t height, int64_t width) {
  const auto folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    throw_user_error({.where = path.string(), .problem = "cannot be written: the folder does not exist", .hint = "Create " + folder.string()});
  if (fs::is_directory(path, ignored)) throw_user_error({.where = path.string(), .problem = "cannot be written: is a folder"});
  if (!can_write(format.name))
    throw_user_error({.where = path.string(), .problem = "the installed libvips cannot write " + format.name, .hint = "Use --format png"});
  if (std::max(height, width) > format.max_side)
    throw_user_error({.where = path.string(),
                      .problem = "too large for " + format.name,
                      .wanted = fmt::format("sides of at most {} px", format.max_side),
                      .got = fmt::format("{} x {}", width, height),
                      .hint = "Use --format png or tiff"});
}

}  // namespace

std::string format_of_extension(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return std::tolower(c); });
  if (extension == ".jpg" || extension == ".jpeg" || extension == ".jpe") return "jpg";
  if (extension == ".tif" || extension == ".tiff") return "tiff";
  if (extension == ".png" || extension == ".webp" || extension == ".avif") return extension.substr(1);
  return "";
}

bool can_write(const std::string& format) {
  start_vips();
  return std::any_of(formats().begin(), formats().end(),
                     [&](const Format& f) { return f.name == format && vips_type_find("VipsOperation", f.saver) != 0; });
}

std::vector<std::string> write_picture(const fs::path& path, const Picture& picture, const EncodeOptions& options) {
  check_fields(options);
  check_shape(picture.pixels, "3 H W", "pixels");
  const int64_t h = picture.pixels.size(1), w = picture.pixels.size(2);
  const Tensor pixels = picture.pixels.to(at::kCPU, at::kFloat).contiguous();
  const Tensor alpha = picture.alpha.defined() ? picture.alpha.to(at::kCPU, at::kFloat).contiguous() : Tensor();
  TORCH_CHECK(h > 0 && w > 0, "pixels: an empty picture cannot be written");
  TORCH_CHECK(all_finite(pixels), "pixels: NaN or infinity must never be written (", path.string(), ")");
  if (alpha.defined()) {
    TORCH_CHECK(alpha.dim() == 3 && alpha.size(0) == 1 && alpha.size(1) == h && alpha.size(2) == w, "alpha: wanted [1, ", h, ", ", w, "], got ",
                alpha.sizes());
    TORCH_CHECK(all_finite(alpha), "alpha: NaN or infinity must never be written (", path.string(), ")");
  }
  const Format& format = format_named(options.format == "auto" ? format_of_extension(path) : options.format, path);
  check_target(path, format, h, w);

  std::vector<std::string> notes;
  int bits = options.bits > 0 ? options.bits : picture.bits;
  if (bits != 8 && bits != 16) throw_user_error({.where = "bits", .wanted = "8 or 16", .got = std::to_string(bits)});
  if (bits == 16 && !format.sixteen_bits) notes.push_back(format.name + " holds 8 bits: 16-bit samples were rounded"), bits = 8;
  const bool flatten = alpha.defined() && !format.alpha;
  if (flatten) notes.push_back(format.name + " holds no transparency: the picture was laid on white");

  std::string icc = options.metadata ? picture.metadata.icc : "";
  const auto facts = profile_facts(icc);
  const bool fits = facts.color_space == "RGB " ? !options.grey : facts.color_space == "GRAY" && options.grey;
  if (!fits) {
    if (!icc.empty()) notes.push_back("the ICC profile '" + facts.name + "' does not fit what is written: sRGB without a profile");
    icc.clear();
  }
  const bool convert = !icc.empty() && !facts.is_srgb;
  const Planes colour{.data = pixels.data_ptr<float>(),
                      .on_white = flatten ? alpha.data_ptr<float>() : nullptr,
                      .width = w,
                      .plane = h * w,
                      .luma = options.grey && !convert};
  const Planes transparency{.data = alpha.defined() ? alpha.data_ptr<float>() : nullptr, .width = w, .plane = h * w, .channels = 1};

  start_vips();
  vips_error_clear();
  write_atomically(path, [&](const fs::path& temporary) {
    try {
      VipsPointer image = image_of(colour, convert ? 16 : bits);
      if (convert) {
        try {
          image = to_profile(image.get(), icc, bits);
        } catch (const VipsFailure&) {  // a profile for input only, such as a scanner's
          notes.push_back("the ICC profile '" + facts.name + "' cannot be converted back to: sRGB without a profile");
          icc.clear();
          image = image_of(colour, bits);
        }
      }
      VipsPointer opacity;
      if (alpha.defined() && !flatten) {
        opacity = image_of(transparency, bits);
        image = made([&](VipsImage** out) { return vips_bandjoin2(image.get(), opacity.get(), out, nullptr); });
      }
      const double resolution = options.metadata && picture.metadata.pixels_per_mm > 0 ? picture.metadata.pixels_per_mm : 1.0;
      image = made([&](VipsImage** out) { return vips_copy(image.get(), out, "xres", resolution, "yres", resolution, nullptr); });
      vips_image_remove(image.get(), VIPS_META_ICC_NAME);
      if (!icc.empty()) vips_image_set_blob_copy(image.get(), VIPS_META_ICC_NAME, icc.data(), icc.size());
      if (options.metadata)
        for (auto& note : attach_metadata(image.get(), picture.metadata, options.text, format.name)) notes.push_back(std::move(note));
      save(image.get(), temporary, format, options);
      const auto more =
          format.name == "png" && options.metadata ? png_texts_beyond_ascii(picture.metadata, options.text) : std::map<std::string, std::string>{};
      if (!more.empty()) insert_png_texts(temporary, more);
      if (format.name == "tiff" && options.metadata && !picture.metadata.exif.empty()) add_tiff_exif(temporary, picture.metadata.exif, w, h);
    } catch (const VipsFailure& failure) {
      throw_user_error({.where = path.string(), .problem = "cannot be written: " + failure.text, .hint = "Check free space and permissions"});
    }
  });
  return notes;
}

}  // namespace resflow::image
