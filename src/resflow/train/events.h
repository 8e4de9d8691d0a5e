// TensorBoard event files, written without its library: TFRecords (length, masked CRC-32C) of Event protocol buffers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "resflow/core/tensor.h"

namespace resflow::train {

class EventFile {
 public:
  // Creates `folder`/events.out.tfevents.TIME.resflow. This and what follows throw UserError where it cannot be written (a full disk).
  explicit EventFile(const std::filesystem::path& folder);
  void scalar(int64_t step, std::string_view tag, double value);
  // png: the bytes of a PNG file.
  void image(int64_t step, std::string_view tag, int64_t height, int64_t width, std::string_view png);

 private:
  void record(const std::string& event);
  std::filesystem::path path_;
  std::ofstream out_;
};

// CRC-32C (Castagnoli), exposed for the test.
uint32_t crc32c(std::string_view bytes);

// An image [3, H, W], float 0..1, as the bytes of an 8-bit PNG.
std::string png_bytes(const Tensor& image);

}  // namespace resflow::train
