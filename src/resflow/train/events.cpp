#include "resflow/train/events.h"

#include <ATen/ATen.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

#include "resflow/core/error.h"
#include "resflow/core/files.h"

namespace resflow::train {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

// Protocol-buffer fields: varint (type 0), 64-bit (1), bytes (2), 32-bit (5).
std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
template <class T>
std::string raw(T value) {
  std::string out(sizeof value, '\0');
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}
std::string varint_field(int number, uint64_t value) { return varint(static_cast<uint64_t>(number) << 3) + varint(value); }
std::string double_field(int number, double value) { return varint(static_cast<uint64_t>(number) << 3 | 1) + raw(value); }
std::string float_field(int number, float value) { return varint(static_cast<uint64_t>(number) << 3 | 5) + raw(value); }
std::string bytes_field(int number, std::string_view bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}

// Event{wall_time = 1, step = 2, file_version = 3, summary = 5}, Summary{value = 1}, Value{tag = 1, simple_value = 2, image = 4}
std::string summary_event(int64_t step, std::string_view tag, const std::string& value) {
  return double_field(1, now()) + varint_field(2, static_cast<uint64_t>(step)) + bytes_field(5, bytes_field(1, bytes_field(1, tag) + value));
}

uint32_t masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U; }

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static const auto table = [] {
    std::array<uint32_t, 256> out{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78U : 0);
      out[i] = value;
    }
    return out;
  }();
  uint32_t crc = ~0U;
  for (const char c : bytes) crc = table[(crc ^ static_cast<unsigned char>(c)) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

EventFile::EventFile(const std::filesystem::path& folder) {
  create_folder(folder);
  path_ = folder / ("events.out.tfevents." + std::to_string(static_cast<int64_t>(now())) + ".resflow");
  out_.open(path_, std::ios::binary | std::ios::app);
  record(double_field(1, now()) + bytes_field(3, "brain.Event:2"));
}

void EventFile::record(const std::string& event) {
  const std::string length = raw(static_cast<uint64_t>(event.size()));
  out_ << length << raw(masked(crc32c(length))) << event << raw(masked(crc32c(event)));
  out_.flush();
  if (!out_)
    throw_user_error(
        {.where = path_.string(), .problem = std::string("cannot be written: ") + std::strerror(errno), .hint = "Check free space and permissions"});
}

void EventFile::scalar(int64_t step, std::string_view tag, double value) {
  record(summary_event(step, tag, float_field(2, static_cast<float>(value))));
}

void EventFile::image(int64_t step, std::string_view tag, int64_t height, int64_t width, std::string_view png) {
  // Image{height = 1, width = 2, colorspace = 3 (RGB), encoded = 4}
  const std::string body =
      varint_field(1, static_cast<uint64_t>(height)) + varint_field(2, static_cast<uint64_t>(width)) + varint_field(3, 3) + bytes_field(4, png);
  record(summary_event(step, tag, bytes_field(4, body)));
}

std::string png_bytes(const Tensor& image) {
  check_shape(image, "3 H W", "image");
  const Tensor bytes =
      image.detach().to(at::kCPU, at::kFloat).clamp(0, 1).mul(255).round().to(at::kByte).permute({1, 2, 0}).contiguous();  // [H, W, 3]
  const int height = static_cast<int>(image.size(1)), width = static_cast<int>(image.size(2));
  int length = 0;
  unsigned char* encoded = stbi_write_png_to_mem(bytes.data_ptr<uint8_t>(), width * 3, width, height, 3, &length);
  TORCH_CHECK(encoded != nullptr, "png: out of memory");
  std::string out(reinterpret_cast<char*>(encoded), static_cast<size_t>(length));
  std::free(encoded);
  return out;
}

}  // namespace resflow::train
