#include "resflow/image/png_text.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>

#include "resflow/core/error.h"
#include "resflow/core/files.h"

namespace resflow::image {
namespace {

uint32_t crc32(const std::string& bytes) {
  uint32_t crc = 0xffffffffu;
  for (const unsigned char byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  return ~crc;
}

std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8), static_cast<char>(value)};
}

bool is_utf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t more = lead < 0x80 ? 0 : lead >= 0xc2 && lead < 0xe0 ? 1 : (lead & 0xf0) == 0xe0 ? 2 : lead >= 0xf0 && lead < 0xf5 ? 3 : 4;
    if (more == 4 || i + more >= text.size()) return false;
    for (size_t k = 1; k <= more; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    i += more + 1;
  }
  return true;
}

}  // namespace

bool is_ascii(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::string as_utf8(const std::string& bytes) {
  if (is_utf8(bytes)) return bytes;
  std::string out;
  for (const unsigned char c : bytes) {
    if (c < 0x80)
      out += static_cast<char>(c);
    else
      out += {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
  }
  return out;
}

void insert_png_texts(const std::filesystem::path& png, const std::map<std::string, std::string>& texts) {
  constexpr size_t header = 8 + 25;  // signature, IHDR
  std::string chunks;
  for (const auto& [key, text] : texts) {
    const std::string body = "iTXt" + key + std::string("\0\0\0\0\0", 5) + text;  // not compressed, no language, no translated key
    chunks += big_endian(static_cast<uint32_t>(body.size() - 4)) + body + big_endian(crc32(body));
  }
  const std::string file = read_text(png);
  TORCH_CHECK(file.size() > header && file.compare(12, 4, "IHDR") == 0, "not a PNG that was just written: ", png.string());
  std::ofstream out(png, std::ios::binary | std::ios::trunc);
  out.write(file.data(), header);
  out.write(chunks.data(), static_cast<std::streamsize>(chunks.size()));
  out.write(file.data() + header, static_cast<std::streamsize>(file.size() - header));
  out.close();
  if (!out) throw_user_error({.where = png.string(), .problem = std::string("cannot be written: ") + std::strerror(errno)});
}

}  // namespace resflow::image
