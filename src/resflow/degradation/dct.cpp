#include "resflow/degradation/dct.h"

#include <algorithm>

namespace resflow::degradation {
namespace {

// ITU-T T.81, tables K.1 and K.2.
constexpr QuantTable kLuma = {16, 11,  10,  16, 24, 40, 51, 61, 12,  12,  14,  19,  26, 58, 60, 55,  14,  13,  16,  24, 40, 57,
                              69, 56,  14,  17, 22, 29, 51, 87, 80,  62,  18,  22,  37, 56, 68, 109, 103, 77,  24,  35, 55, 64,
                              81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98,  112, 100, 103, 99};
constexpr QuantTable kChroma = {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99,
                                99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
                                99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99};

QuantTable scaled(const QuantTable& base, int quality) {
  const int percent = quality < 50 ? 5000 / quality : 200 - 2 * quality;
  QuantTable table;
  for (size_t i = 0; i < 64; ++i) table[i] = std::clamp((base[i] * percent + 50) / 100, 1, 255);
  return table;
}

// Element i holds sample i of four blocks.
using Blocks = std::array<Words, 64>;

// The DCT matrix times sqrt(8), in units of 2^-13, as libjpeg's accurate integer transform ("islow") has it. Its rounded
// constants make some entries differ by one from the nearest integer; they are kept, so that every quantised value agrees.
constexpr int kBits = 13, kC2 = 10703, kC6 = 4433, kC6b = 10704;
constexpr int kOdd[4][4] = {{11363, 9633, 6437, 2260}, {9633, -2259, -11362, -6436}, {6437, -11362, 2261, 9633}, {2260, -6436, 9633, -11363}};
// Between its two passes libjpeg keeps two more bits.
constexpr int kExtra = 2;

inline Words descale(Words v, int bits) { return (v + (1 << (bits - 1))) >> bits; }

// Eight samples, kStep apart, to eight coefficients times 2^(kBits - shift).
template <int kStep>
inline void forward(Words* v, int shift) {
  Words sum[4], difference[4];
  for (int i = 0; i < 4; ++i) {
    sum[i] = v[i * kStep] + v[(7 - i) * kStep];
    difference[i] = v[i * kStep] - v[(7 - i) * kStep];
  }
  const Words outer = sum[0] + sum[3], inner = sum[1] + sum[2], a = sum[0] - sum[3], b = sum[1] - sum[2];
  v[0] = descale((outer + inner) << kBits, shift);
  v[4 * kStep] = descale((outer - inner) << kBits, shift);
  v[2 * kStep] = descale(kC2 * a + kC6 * b, shift);
  v[6 * kStep] = descale(kC6 * a - kC6b * b, shift);
  for (int k = 0; k < 4; ++k)
    v[(2 * k + 1) * kStep] =
        descale(kOdd[k][0] * difference[0] + kOdd[k][1] * difference[1] + kOdd[k][2] * difference[2] + kOdd[k][3] * difference[3], shift);
}

template <int kStep>
inline void inverse(Words* v, int shift) {
  const Words sum = (v[0] + v[4 * kStep]) << kBits, difference = (v[0] - v[4 * kStep]) << kBits;
  const Words outer = kC2 * v[2 * kStep] + kC6 * v[6 * kStep], inner = kC6 * v[2 * kStep] - kC6b * v[6 * kStep];
  const Words even[4] = {sum + outer, difference + inner, difference - inner, sum - outer};
  Words odd[4];
  for (int i = 0; i < 4; ++i) odd[i] = kOdd[0][i] * v[kStep] + kOdd[1][i] * v[3 * kStep] + kOdd[2][i] * v[5 * kStep] + kOdd[3][i] * v[7 * kStep];
  for (int i = 0; i < 4; ++i) {
    v[i * kStep] = descale(even[i] + odd[i], shift);
    v[(7 - i) * kStep] = descale(even[i] - odd[i], shift);
  }
}

// Divides coefficients (8 times their value) by q, rounding half away from zero, and multiplies back. The quotient of
// integers this small is exact where it is whole, so truncating the float is the integer division.
inline Words quantise(Words coefficient, int q) {
  const Lanes value = __builtin_convertvector(coefficient, Lanes), half = all(static_cast<float>(4 * q));
  const Lanes ratio = (value + (value < 0 ? -half : half)) / all(static_cast<float>(8 * q));
  return __builtin_convertvector(ratio, Words) * q;
}

}  // namespace

QuantTable luma_table(int quality) { return scaled(kLuma, quality); }
QuantTable chroma_table(int quality) { return scaled(kChroma, quality); }

void quantise_blocks(float* plane, int64_t height, int64_t width, int64_t stride, const QuantTable& table) {
  Blocks blocks;
  for (int64_t top = 0; top < height; top += 8)
    for (int64_t left = 0; left < width; left += 32) {
      float* corner = plane + top * stride + left;
      for (int64_t y = 0; y < 8; ++y)
        for (int64_t x = 0; x < 8; ++x) {
          const float* p = corner + y * stride + x;
          blocks[static_cast<size_t>(8 * y + x)] = __builtin_convertvector((Lanes{p[0], p[8], p[16], p[24]}), Words) - 128;
        }
      for (size_t i = 0; i < 64; i += 8) forward<1>(&blocks[i], kBits - kExtra);
      for (size_t i = 0; i < 8; ++i) forward<8>(&blocks[i], kBits + kExtra);
      for (size_t i = 0; i < 64; ++i) blocks[i] = quantise(blocks[i], table[i]);
      for (size_t i = 0; i < 8; ++i) inverse<8>(&blocks[i], kBits - kExtra);
      for (size_t i = 0; i < 64; i += 8) inverse<1>(&blocks[i], kBits + kExtra + 3);
      for (int64_t y = 0; y < 8; ++y)
        for (int64_t x = 0; x < 8; ++x) {
          const Lanes level = clamp(__builtin_convertvector(blocks[static_cast<size_t>(8 * y + x)] + 128, Lanes), 0, 255);
          float* p = corner + y * stride + x;
          p[0] = level[0], p[8] = level[1], p[16] = level[2], p[24] = level[3];
        }
    }
}

}  // namespace resflow::degradation
