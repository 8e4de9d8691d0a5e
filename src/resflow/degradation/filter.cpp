#include "resflow/degradation/filter.h"

namespace resflow::degradation {
namespace {

constexpr int64_t kBlock = 16;  // pixels that one pass over the taps makes: four vectors, so that additions overlap

// out[0..16) = sum over `rows` rows and `columns` columns of taps * source. The source is `stride` floats a row.
inline void correlate_block(const float* source, int64_t stride, const float* taps, int rows, int columns, float* out) {
  Lanes a{}, b{}, c{}, d{};
  for (int y = 0; y < rows; ++y, source += stride)
    for (int x = 0; x < columns; ++x) {
      const Lanes tap = all(*taps++);
      const float* p = source + x;
      a += tap * load(p);
      b += tap * load(p + 4);
      c += tap * load(p + 8);
      d += tap * load(p + 12);
    }
  store(out, a);
  store(out + 4, b);
  store(out + 8, c);
  store(out + 12, d);
}

}  // namespace

int64_t reflect(int64_t i, int64_t n) {
  if (n == 1) return 0;
  const int64_t period = 2 * (n - 1);
  i = (i % period + period) % period;
  return i < n ? i : period - i;
}

void filter(Planes& image, const Kernel& kernel) {
  if (kernel.size == 1) return;
  const int64_t height = image.height(), width = image.width(), half = kernel.size / 2;
  const int64_t stride = image.stride() + (2 * half + kBlock - 1) / kBlock * kBlock, rows = height + 2 * half;
  const auto padded = std::make_unique<float[]>(static_cast<size_t>(rows * stride));
  for (int64_t channel = 0; channel < 3; ++channel) {
    for (int64_t y = 0; y < rows; ++y) {
      const float* from = image.row(channel, reflect(y - half, height));
      float* to = padded.get() + y * stride;
      for (int64_t x = 0; x < half; ++x) to[x] = from[reflect(x - half, width)];
      std::memcpy(to + half, from, static_cast<size_t>(width) * sizeof(float));
      for (int64_t x = width; x < width + half; ++x) to[half + x] = from[reflect(x, width)];
      // In place: a block reads only what lies right of the blocks already written.
      if (!kernel.line.empty())
        for (int64_t x = 0; x < width; x += kBlock) correlate_block(to + x, 0, kernel.line.data(), 1, kernel.size, to + x);
    }
    for (int64_t y = 0; y < height; ++y) {
      const float* from = padded.get() + y * stride;
      float* to = image.row(channel, y);
      for (int64_t x = 0; x < width; x += kBlock) {
        if (kernel.line.empty()) {
          correlate_block(from + x, stride, kernel.weights.data(), kernel.size, kernel.size, to + x);
        } else {
          correlate_block(from + x, stride, kernel.line.data(), kernel.size, 1, to + x);
        }
      }
    }
  }
}

}  // namespace resflow::degradation
