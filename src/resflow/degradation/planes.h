// Three float planes whose rows are padded to whole vectors, so that loops over a row need no remainder.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>

namespace resflow::degradation {

// Four floats. The compiler's own vectors rather than hopes for auto-vectorisation: -O2 leaves loops of unknown length scalar.
using Lanes = float __attribute__((vector_size(16)));
using Words = int32_t __attribute__((vector_size(16)));

inline Lanes load(const float* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, Lanes v) { std::memcpy(p, &v, sizeof v); }
inline Lanes all(float v) { return Lanes{v, v, v, v}; }
inline Lanes clamp(Lanes v, float low, float high) {
  v = v < low ? all(low) : v;
  return v > high ? all(high) : v;
}
inline Lanes truncate(Lanes v) { return __builtin_convertvector(__builtin_convertvector(v, Words), Lanes); }
inline Lanes floor(Lanes v) {
  const Lanes t = truncate(v);
  return t + __builtin_convertvector(v < t, Lanes);  // a true comparison is -1
}

class Planes {
 public:
  static constexpr int64_t kPad = 16;

  Planes(int64_t height, int64_t width)
      : height_(height), width_(width), stride_((width + kPad - 1) / kPad * kPad), data_(new float[static_cast<size_t>(3 * height * stride_)]()) {}

  int64_t height() const { return height_; }
  int64_t width() const { return width_; }
  int64_t stride() const { return stride_; }  // floats from one row to the next; what lies right of the width is of no meaning
  float* row(int64_t channel, int64_t y) { return data_.get() + (channel * height_ + y) * stride_; }
  const float* row(int64_t channel, int64_t y) const { return data_.get() + (channel * height_ + y) * stride_; }
  float* begin() { return data_.get(); }
  float* end() { return data_.get() + 3 * height_ * stride_; }

  void clamp01() {
    for (float* p = begin(); p != end(); p += 4) store(p, clamp(load(p), 0, 1));
  }

 private:
  int64_t height_, width_, stride_;
  std::unique_ptr<float[]> data_;
};

}  // namespace resflow::degradation
