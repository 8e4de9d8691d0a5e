#include "resflow/degradation/jpeg.h"

#include <c10/util/Exception.h>

#include <algorithm>

#include "resflow/degradation/dct.h"

namespace resflow::degradation {
namespace {

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// A plane of levels 0..255 as floats (exact). `size` is what the picture needs, the rest pads to whole blocks.
struct Levels {
  int64_t height, width, padded_height, stride;
  std::unique_ptr<float[]> data;

  Levels(int64_t h, int64_t w, int64_t rows)
      : height(h), width(w), padded_height(rows), stride(round_up(w, 32)), data(new float[static_cast<size_t>(rows * stride)]()) {}
  float* row(int64_t y) { return data.get() + y * stride; }
};

// JFIF's conversion in libjpeg's fixed point: coefficients of 2^16, so that every sum is an integer below 2^24 and floats are exact.
struct YCbCr {
  Lanes y, cb, cr;
};
YCbCr from_rgb(Lanes r, Lanes g, Lanes b) {
  constexpr float kUnit = 1 / 65536.f, kCentre = 128 * 65536.f + 32767;
  return {truncate((19595 * r + 38470 * g + 7471 * b + 32768) * kUnit), truncate((kCentre - 11059 * r - 21709 * g + 32768 * b) * kUnit),
          truncate((kCentre + 32768 * r - 27439 * g - 5329 * b) * kUnit)};
}
struct Rgb {
  Lanes r, g, b;
};
Rgb to_rgb(YCbCr v) {
  constexpr float kUnit = 1 / 65536.f;
  const Lanes cb = v.cb - 128, cr = v.cr - 128;
  return {clamp(v.y + floor((91881 * cr + 32768) * kUnit), 0, 255), clamp(v.y + floor((32768 - 22554 * cb - 46802 * cr) * kUnit), 0, 255),
          clamp(v.y + floor((116130 * cb + 32768) * kUnit), 0, 255)};
}

Lanes to_level(Lanes value) { return truncate(clamp(value, 0, 1) * 255 + .5f); }

void repeat_last(float* row, int64_t width, int64_t to) { std::fill(row + width, row + to, row[width - 1]); }

// Means of 2x2, rounded by libjpeg's alternating bias of 1 and 2 quarters.
void halve(const float* upper, const float* lower, int64_t width, float* out) {
  for (int64_t x = 0; x < width; x += 2) {
    out[x] = static_cast<float>(static_cast<int>(upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1] + 1) >> 2);
    out[x + 1] = static_cast<float>(static_cast<int>(upper[2 * x + 2] + upper[2 * x + 3] + lower[2 * x + 2] + lower[2 * x + 3] + 2) >> 2);
  }
}

// One full-size row of chroma: weights 3/4 and 1/4 of the nearer and the farther row and column (libjpeg's "fancy" filter).
// `sums` has one float of room on the left and five on the right.
void double_row(const float* near, const float* far, int64_t width, float* sums, float* out) {
  if (width <= 2) {  // too narrow for libjpeg's filter: plain repetition
    for (int64_t x = 0; x < width; ++x) out[2 * x] = out[2 * x + 1] = near[x];
    return;
  }
  for (int64_t x = 0; x < width; x += 4) store(sums + x, 3 * load(near + x) + load(far + x));
  sums[-1] = sums[0];
  sums[width] = sums[width - 1];
  for (int64_t x = 0; x < width; x += 4) {
    const Lanes centre = 3 * load(sums + x);
    const Lanes even = truncate((centre + load(sums + x - 1) + 8) * (1 / 16.f)), odd = truncate((centre + load(sums + x + 1) + 7) * (1 / 16.f));
    store(out + 2 * x, Lanes{even[0], odd[0], even[1], odd[1]});
    store(out + 2 * x + 4, Lanes{even[2], odd[2], even[3], odd[3]});
  }
}

// Encodes: luma goes through its transform and into channel 0 at once, strip by strip; chroma is halved into cb and cr.
void split(Planes& image, const QuantTable& table, Levels& cb, Levels& cr) {
  const int64_t height = image.height(), width = image.width();
  Levels y_strip(16, width, 16), cb_pair(2, 2 * cb.stride, 2), cr_pair(2, 2 * cb.stride, 2);
  for (int64_t top = 0; top < height; top += 16) {
    for (int64_t line = 0; line < 16; ++line) {
      const int64_t y = std::min(top + line, height - 1);  // below the picture its last row repeats
      const float *r = image.row(0, y), *g = image.row(1, y), *b = image.row(2, y);
      float *to_y = y_strip.row(line), *to_cb = cb_pair.row(line % 2), *to_cr = cr_pair.row(line % 2);
      for (int64_t x = 0; x < width; x += 4) {
        const YCbCr v = from_rgb(to_level(load(r + x)), to_level(load(g + x)), to_level(load(b + x)));
        store(to_y + x, v.y);
        store(to_cb + x, v.cb);
        store(to_cr + x, v.cr);
      }
      repeat_last(to_y, width, y_strip.stride);
      repeat_last(to_cb, width, cb_pair.stride);
      repeat_last(to_cr, width, cr_pair.stride);
      const int64_t half = (top + line) / 2;
      if (line % 2 == 1 && half < cb.height) {
        halve(cb_pair.row(0), cb_pair.row(1), cb.stride, cb.row(half));
        halve(cr_pair.row(0), cr_pair.row(1), cr.stride, cr.row(half));
      }
    }
    quantise_blocks(y_strip.row(0), 16, y_strip.stride, y_strip.stride, table);
    for (int64_t y = top; y < std::min(top + 16, height); ++y)
      std::memcpy(image.row(0, y), y_strip.row(y - top), static_cast<size_t>(width) * sizeof(float));
  }
}

void quantise_chroma(Levels& plane, const QuantTable& table) {
  for (int64_t y = plane.height; y < plane.padded_height; ++y)
    std::memcpy(plane.row(y), plane.row(plane.height - 1), static_cast<size_t>(plane.stride) * sizeof(float));
  quantise_blocks(plane.row(0), plane.padded_height, plane.stride, plane.stride, table);
}

void join(Planes& image, Levels& cb, Levels& cr) {
  const auto sums = std::make_unique<float[]>(static_cast<size_t>(cb.stride + 8));
  Levels rows(2, 2 * cb.stride, 2);
  for (int64_t y = 0; y < image.height(); ++y) {
    const int64_t near = y / 2, far = std::clamp<int64_t>(y % 2 == 0 ? near - 1 : near + 1, 0, cb.height - 1);
    double_row(cb.row(near), cb.row(far), cb.width, sums.get() + 4, rows.row(0));
    double_row(cr.row(near), cr.row(far), cr.width, sums.get() + 4, rows.row(1));
    float *r = image.row(0, y), *g = image.row(1, y), *b = image.row(2, y);
    for (int64_t x = 0; x < image.width(); x += 4) {
      const Rgb v = to_rgb({load(r + x), load(rows.row(0) + x), load(rows.row(1) + x)});
      store(r + x, v.r / 255);
      store(g + x, v.g / 255);
      store(b + x, v.b / 255);
    }
  }
}

}  // namespace

void jpeg_round_trip(Planes& image, int quality) {
  TORCH_CHECK(quality >= 1 && quality <= 100, "JPEG quality: wanted 1..100, got ", quality);
  const int64_t half_height = (image.height() + 1) / 2, half_width = (image.width() + 1) / 2;
  Levels cb(half_height, half_width, round_up(half_height, 8)), cr(half_height, half_width, round_up(half_height, 8));
  split(image, luma_table(quality), cb, cr);
  quantise_chroma(cb, chroma_table(quality));
  quantise_chroma(cr, chroma_table(quality));
  join(image, cb, cr);
}

}  // namespace resflow::degradation
