#include "resflow/image/codec.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <fstream>
#include <limits>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/image/file_metadata.h"
#include "resflow/image/icc.h"
#include "resflow/image/png_text.h"

using namespace resflow;
using namespace resflow::image;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / fs::path("resflow-codec-" + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  size_t count() const { return std::distance(fs::directory_iterator(path), {}); }
};

Tensor levels(int64_t channels, int64_t h, int64_t w, int64_t full) {
  return at::randint(0, full + 1, {channels, h, w}, at::kFloat) / static_cast<double>(full);
}

double apart(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

}  // namespace

TEST_CASE("png and tiff give back the very samples, of 8 and 16 bits, with alpha") {
  Folder folder;
  for (const std::string name : {"a.png", "a.tif"})
    for (const int bits : {8, 16}) {
      const int64_t full = bits == 8 ? 255 : 65535;
      const Picture picture{.pixels = levels(3, 65, 130, full), .alpha = levels(1, 65, 130, full), .bits = bits};
      CHECK(write_picture(folder.path / name, picture).empty());
      const Picture read = read_picture(folder.path / name);
      CAPTURE(name);
      CHECK(read.bits == bits);
      CHECK(apart(read.pixels, picture.pixels) < 1e-7);
      CHECK(apart(read.alpha, picture.alpha) < 1e-7);
      CHECK(read.pixels.is_contiguous());
      const auto info = probe(folder.path / name);
      CHECK((info.width == 130 && info.height == 65 && info.bits == bits && info.bands == 4 && info.pages == 1));
    }
}

TEST_CASE("values outside of 0..1 are clamped and others rounded to the nearest level") {
  Folder folder;
  const Picture picture{.pixels =
                            at::tensor({-0.5f, 1.7f, 0.4999f / 255, 0.5001f / 255, 100.4f / 255, 100.6f / 255}).view({1, 1, 6}).expand({3, 1, 6})};
  write_picture(folder.path / "a.png", picture);
  const Tensor got = read_picture(folder.path / "a.png").pixels[0][0] * 255;
  CHECK(apart(got, at::tensor({0.f, 255.f, 0.f, 1.f, 100.f, 101.f})) < 1e-4);
}

TEST_CASE("lossy formats stay near the picture and better quality is nearer") {
  Folder folder;
  const Tensor ramp = at::linspace(0, 1, 64).view({1, 1, 64}).expand({3, 48, 64}).contiguous();
  const Picture picture{.pixels = (ramp + 0.1 * levels(3, 48, 64, 255)).clamp(0, 1)};
  for (const std::string format : {"jpg", "webp", "avif"}) {
    if (!can_write(format)) continue;
    const auto error_at = [&](int quality) {
      EncodeOptions options{.format = format, .quality = quality};
      write_picture(folder.path / "no-extension", picture, options);
      return (read_picture(folder.path / "no-extension").pixels - picture.pixels).abs().mean().item<double>();
    };
    CAPTURE(format);
    CHECK(error_at(95) < 0.03);
    CHECK(error_at(95) < error_at(10));
  }
}

TEST_CASE("NaN and infinity are never written") {
  Folder folder;
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Picture picture{.pixels = at::zeros({3, 4, 5})};
    picture.pixels[1][2][3] = bad;
    CHECK_THROWS_AS(write_picture(folder.path / "a.png", picture), c10::Error);
    picture = {.pixels = at::zeros({3, 4, 5}), .alpha = at::full({1, 4, 5}, bad)};
    CHECK_THROWS_AS(write_picture(folder.path / "a.png", picture), c10::Error);
  }
  CHECK(folder.count() == 0);
}

TEST_CASE("a hand-made PPM, with a bracket in its name, is read") {
  Folder folder;
  std::ofstream(folder.path / "a[1].ppm", std::ios::binary) << "P6\n2 1\n255\n" << std::string("\xff\x00\x33\x00\x80\xff", 6);
  const Picture picture = read_picture(folder.path / "a[1].ppm");
  CHECK(picture.metadata.format == "ppm");
  CHECK(apart(picture.pixels * 255, at::tensor({255.f, 0.f, 0.f, 128.f, 51.f, 255.f}).view({3, 1, 2})) < 1e-4);
  write_picture(folder.path / "b[2].png", picture);
  CHECK(apart(read_picture(folder.path / "b[2].png").pixels, picture.pixels) < 1e-7);
}

TEST_CASE("files that are no pictures are the user's errors and name the file") {
  Folder folder;
  std::ofstream(folder.path / "cut.png", std::ios::binary) << "\x89PNG\r\n\x1a\n";
  write_text_atomically(folder.path / "letter.jpg", "dear all");
  write_text_atomically(folder.path / "empty.jpg", "");
  for (const auto& name : {"none.png", "cut.png", "letter.jpg", "empty.jpg", ""}) {
    try {
      read_picture(folder.path / name);
      FAIL("read: " << name);
    } catch (const UserError& error) {
      CHECK(std::string(error.what()).find((folder.path / name).string()) != std::string::npos);
    }
    CHECK_THROWS_AS(probe(folder.path / name), UserError);
  }
}

TEST_CASE("extensions name formats in any case") {
  CHECK(format_of_extension("a.b/c.JPEG") == "jpg");
  CHECK(format_of_extension("x.TIF") == "tiff");
  CHECK(format_of_extension("x.avif") == "avif");
  CHECK(format_of_extension("x.gif").empty());
  CHECK(format_of_extension("png").empty());
}

TEST_CASE("options out of range are refused") {
  Folder folder;
  const Picture picture{.pixels = at::zeros({3, 2, 2})};
  EncodeOptions options;
  options.bits = 12;
  CHECK_THROWS_AS(write_picture(folder.path / "a.png", picture, options), UserError);
  options = {};
  options.quality = 101;
  CHECK_THROWS_AS(write_picture(folder.path / "a.png", picture, options), UserError);
  options = {};
  options.format = "bmp";
  CHECK_THROWS_AS(write_picture(folder.path / "a.png", picture, options), UserError);
}

TEST_CASE("texts are added to an XMP packet that exists") {
  const std::string packet = "<rdf:RDF><rdf:Description a=\"1\"/></rdf:RDF>";
  CHECK(xmp_with_texts(packet, {}) == packet);
  const auto more = xmp_with_texts(packet, {{"key", "a<b & \"c\"\n"}, {"no name", "x"}});
  CHECK(more.find("a=\"1\"/><rdf:Description") != std::string::npos);
  CHECK(more.find("resflow:key=\"a&lt;b &amp; &quot;c&quot;&#10;\"") != std::string::npos);
  CHECK(more.find("no name") == std::string::npos);
  CHECK(xmp_with_texts("", {{"k", "v"}}).find("<x:xmpmeta") != std::string::npos);
}

TEST_CASE("bytes of text chunks become UTF-8") {
  CHECK(as_utf8("plain") == "plain");
  CHECK(as_utf8("\xc3\xa9") == "\xc3\xa9");
  CHECK(as_utf8("caf\xe9") == "caf\xc3\xa9");
  CHECK(is_ascii("a~"));
  CHECK_FALSE(is_ascii("\xc3\xa9"));
}

TEST_CASE("profile facts are read from any bytes without harm") {
  CHECK(profile_facts("").color_space.empty());
  CHECK(profile_facts(std::string(500, 'x')).color_space.empty());
  std::string profile(132, '\0');
  profile.replace(16, 4, "RGB ").replace(36, 4, "acsp");
  profile.replace(128, 4, "\xff\xff\xff\xff");  // a tag count beyond the end
  CHECK(profile_facts(profile).color_space == "RGB ");
  CHECK(profile_facts(profile).name.empty());

  profile.replace(128, 4, std::string("\0\0\0\1", 4));
  const auto with_name = [&](const std::string& name) {
    std::string text = "desc" + std::string(7, '\0') + static_cast<char>(name.size() + 1) + name + '\0';
    return profile + "desc" + std::string("\0\0\0\x90\0\0\0", 7) + static_cast<char>(text.size()) + text;
  };
  CHECK(profile_facts(with_name("sRGB IEC61966-2.1")).name == "sRGB IEC61966-2.1");
  CHECK(profile_facts(with_name("sRGB IEC61966-2.1")).is_srgb);
  CHECK_FALSE(profile_facts(with_name("sRGB (linear)")).is_srgb);
  CHECK_FALSE(profile_facts(with_name("Display P3")).is_srgb);
}
