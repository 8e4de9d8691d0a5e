// Random numbers from named streams: (seed, purpose, index) fixes every number, on any device, batch size or tile order.
// Counter-based (Philox4x32-10, Salmon et al. 2011), so any part of a noise field can be drawn without the rest.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "resflow/core/tensor.h"

namespace resflow {

// Four random words from a counter and a key, lowest word first.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, uint64_t key);

class Stream {
 public:
  Stream(uint64_t seed, std::string_view purpose, uint64_t index = 0);

  // The four 32-bit words at a counter (pure: does not advance the stream).
  std::array<uint32_t, 4> words(uint64_t counter, uint64_t high = 0) const;

  // Sequential draws; each advances the stream.
  uint32_t bits();
  double uniform();                            // [0, 1), 32 bits
  double uniform(double low, double high);     // [low, high)
  int64_t integer(int64_t low, int64_t high);  // low <= n <= high
  double normal();
  bool chance(double probability);
  size_t pick(std::initializer_list<double> weights);  // index, with probability proportional to its weight

  // A stream of its own for a part of the work.
  Stream child(std::string_view purpose, uint64_t index = 0) const;

 private:
  explicit Stream(uint64_t key) : key_(key) {}
  uint64_t key_ = 0, counter_ = 0;
  std::array<uint32_t, 4> buffer_{};
  int left_ = 0;
};

// The window [y0, y0 + height) x [x0, x0 + width) of an endless field of standard normals; the same pixel is the same number
// in whatever window it is drawn. -> float [1, channels, height, width] on the CPU. channels <= 4.
Tensor noise_window(const Stream& stream, int64_t channels, int64_t y0, int64_t x0, int64_t height, int64_t width);

// Standard normals of any shape, in memory order. -> float, CPU.
Tensor normal_like_shape(const Stream& stream, at::IntArrayRef shape);

}  // namespace resflow
