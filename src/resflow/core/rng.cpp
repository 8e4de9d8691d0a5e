#include "resflow/core/rng.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace resflow {
namespace {

uint64_t mix(uint64_t x) {  // splitmix64's finaliser
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

uint64_t key_of(uint64_t seed, std::string_view purpose, uint64_t index) {
  uint64_t key = mix(seed);
  for (const char c : purpose) key = mix(key ^ static_cast<unsigned char>(c));
  return mix(key ^ mix(index));
}

// Two uniform words -> two standard normals (Box-Muller; u1 in (0, 1]).
std::array<float, 2> box_muller(uint32_t a, uint32_t b) {
  const double u1 = (static_cast<double>(a) + 1.0) * 0x1p-32, angle = 2 * std::numbers::pi * static_cast<double>(b) * 0x1p-32;
  const double radius = std::sqrt(-2 * std::log(u1));
  return {static_cast<float>(radius * std::cos(angle)), static_cast<float>(radius * std::sin(angle))};
}

}  // namespace

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c, uint64_t key) {
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = 0xD2511F53ULL * c[0], p1 = 0xCD9E8D57ULL * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1), static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1,
         static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return c;
}

Stream::Stream(uint64_t seed, std::string_view purpose, uint64_t index) : key_(key_of(seed, purpose, index)) {}

Stream Stream::child(std::string_view purpose, uint64_t index) const { return Stream(key_of(key_, purpose, index)); }

std::array<uint32_t, 4> Stream::words(uint64_t counter, uint64_t high) const {
  return philox(
      {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), static_cast<uint32_t>(high), static_cast<uint32_t>(high >> 32)}, key_);
}

uint32_t Stream::bits() {
  if (left_ == 0) {
    buffer_ = words(counter_++, ~0ULL);  // the high half keeps sequential draws apart from noise fields
    left_ = 4;
  }
  return buffer_[static_cast<size_t>(--left_)];
}

double Stream::uniform() { return static_cast<double>(bits()) * 0x1p-32; }
double Stream::uniform(double low, double high) { return low + (high - low) * uniform(); }
int64_t Stream::integer(int64_t low, int64_t high) { return low + static_cast<int64_t>(uniform() * static_cast<double>(high - low + 1)); }
double Stream::normal() {
  const uint32_t a = bits(), b = bits();
  return box_muller(a, b)[0];
}
bool Stream::chance(double probability) { return uniform() < probability; }

size_t Stream::pick(std::initializer_list<double> weights) {
  double total = 0;
  for (const double w : weights) total += w;
  double at = uniform() * total;
  size_t i = 0;
  for (const double w : weights) {
    if (at < w || i + 1 == weights.size()) break;
    at -= w;
    ++i;
  }
  return i;
}

Tensor noise_window(const Stream& stream, int64_t channels, int64_t y0, int64_t x0, int64_t height, int64_t width) {
  TORCH_CHECK(channels >= 1 && channels <= 4, "noise_window: wanted 1..4 channels, got ", channels);
  Tensor out = at::empty({1, channels, height, width}, at::kFloat);
  auto* data = out.data_ptr<float>();
  const int64_t plane = height * width;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const auto w = stream.words(static_cast<uint64_t>(x0 + x), static_cast<uint64_t>(y0 + y));
      const auto first = box_muller(w[0], w[1]), second = box_muller(w[2], w[3]);
      const std::array<float, 4> n = {first[0], first[1], second[0], second[1]};
      for (int64_t c = 0; c < channels; ++c) data[c * plane + y * width + x] = n[static_cast<size_t>(c)];
    }
  return out;
}

Tensor normal_like_shape(const Stream& stream, at::IntArrayRef shape) {
  Tensor out = at::empty(shape, at::kFloat);
  auto* data = out.data_ptr<float>();
  const int64_t count = out.numel();
  for (int64_t i = 0; i < count; i += 4) {
    const auto w = stream.words(static_cast<uint64_t>(i));
    const auto first = box_muller(w[0], w[1]), second = box_muller(w[2], w[3]);
    const std::array<float, 4> n = {first[0], first[1], second[0], second[1]};
    for (int64_t j = i; j < std::min(i + 4, count); ++j) data[j] = n[static_cast<size_t>(j - i)];
  }
  return out;
}

}  // namespace resflow
