#include "resflow/nn/ggml_quants.h"

#include <ATen/Parallel.h>
#include <c10/util/Half.h>

#include <array>
#include <cstring>

namespace resflow::nn {
namespace {

using Bytes = const unsigned char*;

float half(Bytes at) {
  c10::Half value;
  std::memcpy(&value, at, sizeof(value));
  return static_cast<float>(value);
}

// 32 weights of 4 bits: the low halves of 16 bytes, then the high ones; with a fifth bit each where `high` is given.
template <class Weight>
void nibbles(Bytes quants, uint32_t high, const Weight& weight, float* out) {
  for (int i = 0; i < 16; ++i) {
    out[i] = weight((quants[i] & 0xf) | (static_cast<int>(high >> i & 1) << 4));
    out[i + 16] = weight((quants[i] >> 4) | (static_cast<int>(high >> (i + 16) & 1) << 4));
  }
}

uint32_t word(Bytes at) {
  uint32_t out = 0;
  std::memcpy(&out, at, sizeof(out));
  return out;
}

void unpack_q4_0(Bytes block, float* out) {
  const float d = half(block);
  nibbles(
      block + 2, 0, [d](int q) { return static_cast<float>(q - 8) * d; }, out);
}
void unpack_q4_1(Bytes block, float* out) {
  const float d = half(block), m = half(block + 2);
  nibbles(
      block + 4, 0, [d, m](int q) { return static_cast<float>(q) * d + m; }, out);
}
void unpack_q5_0(Bytes block, float* out) {
  const float d = half(block);
  nibbles(
      block + 6, word(block + 2), [d](int q) { return static_cast<float>(q - 16) * d; }, out);
}
void unpack_q5_1(Bytes block, float* out) {
  const float d = half(block), m = half(block + 2);
  nibbles(
      block + 8, word(block + 4), [d, m](int q) { return static_cast<float>(q) * d + m; }, out);
}
void unpack_q8_0(Bytes block, float* out) {
  const float d = half(block);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(static_cast<int8_t>(block[2 + i])) * d;
}

// The formats of 256: in two halves, each 32 bytes that hold four runs of 32 weights in two bits each.
void unpack_q2_k(Bytes block, float* out) {
  const Bytes scales = block, quants = block + 16;
  const float d = half(block + 80), dmin = half(block + 82);
  for (int i = 0; i < 256; ++i) {
    const int q = quants[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3, scale = scales[i / 16];
    out[i] = d * static_cast<float>(scale & 0xf) * static_cast<float>(q) - dmin * static_cast<float>(scale >> 4);
  }
}
void unpack_q3_k(Bytes block, float* out) {
  const Bytes high = block, quants = block + 32, packed = block + 96;
  const float d = half(block + 108);
  std::array<int, 16> scales{};  // 4 low bits of each in 8 bytes, then 2 high ones in 4
  for (int i = 0; i < 16; ++i) {
    const int low = i < 8 ? packed[i] & 0xf : packed[i - 8] >> 4;
    scales[static_cast<size_t>(i)] = (low | (packed[8 + i % 4] >> (i / 4 * 2) & 3) << 4) - 32;
  }
  for (int i = 0; i < 256; ++i) {
    const int low = quants[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3, above = high[i % 32] >> (i / 32) & 1;
    out[i] = d * static_cast<float>(scales[static_cast<size_t>(i / 16)]) * static_cast<float>(low - (above != 0 ? 0 : 4));
  }
}

// Q4_K and Q5_K: eight scales and minima of 6 bits in 12 bytes.
struct ScaleMin {
  float scale, min;
};
ScaleMin scale_min(Bytes packed, int i) {
  if (i < 4) return {static_cast<float>(packed[i] & 63), static_cast<float>(packed[i + 4] & 63)};
  return {static_cast<float>((packed[i + 4] & 0xf) | (packed[i - 4] >> 6) << 4), static_cast<float>((packed[i + 4] >> 4) | (packed[i] >> 6) << 4)};
}
void unpack_k(Bytes block, Bytes quants, Bytes high, float* out) {
  const float d = half(block), dmin = half(block + 2);
  for (int run = 0; run < 8; ++run) {
    const auto [scale, min] = scale_min(block + 4, run);
    for (int i = 0; i < 32; ++i) {
      const int byte = quants[run / 2 * 32 + i];
      const int q = (run % 2 != 0 ? byte >> 4 : byte & 0xf) | (high != nullptr ? (high[i] >> run & 1) << 4 : 0);
      out[run * 32 + i] = d * scale * static_cast<float>(q) - dmin * min;
    }
  }
}
void unpack_q4_k(Bytes block, float* out) { unpack_k(block, block + 16, nullptr, out); }
void unpack_q5_k(Bytes block, float* out) { unpack_k(block, block + 48, block + 16, out); }
void unpack_q6_k(Bytes block, float* out) {
  const Bytes low = block, high = block + 128, scales = block + 192;
  const float d = half(block + 208);
  for (int i = 0; i < 256; ++i) {
    const int half_of = i / 128, run = i / 32 % 4, place = i % 32;
    const int byte = low[half_of * 64 + run % 2 * 32 + place];
    const int q = ((run < 2 ? byte & 0xf : byte >> 4) | (high[half_of * 32 + place] >> (run * 2) & 3) << 4) - 32;
    out[i] = d * static_cast<float>(static_cast<int8_t>(scales[i / 16])) * static_cast<float>(q);
  }
}

constexpr std::array<QuantFormat, 10> kFormats = {{{"Q4_0", 2, 32, 18, unpack_q4_0},
                                                   {"Q4_1", 3, 32, 20, unpack_q4_1},
                                                   {"Q5_0", 6, 32, 22, unpack_q5_0},
                                                   {"Q5_1", 7, 32, 24, unpack_q5_1},
                                                   {"Q8_0", 8, 32, 34, unpack_q8_0},
                                                   {"Q2_K", 10, 256, 84, unpack_q2_k},
                                                   {"Q3_K", 11, 256, 110, unpack_q3_k},
                                                   {"Q4_K", 12, 256, 144, unpack_q4_k},
                                                   {"Q5_K", 13, 256, 176, unpack_q5_k},
                                                   {"Q6_K", 14, 256, 210, unpack_q6_k}}};

}  // namespace

const QuantFormat* quant_format(uint32_t code) {
  for (const auto& format : kFormats)
    if (format.code == code) return &format;
  return nullptr;
}

void dequantise(const QuantFormat& format, const unsigned char* blocks, int64_t count, float* out) {
  at::parallel_for(0, count, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) format.unpack(blocks + i * format.bytes, out + i * format.block);
  });
}

}  // namespace resflow::nn
