#include "resflow/nn/ggml_quantise.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace resflow::nn {
namespace {

void put_half(unsigned char* at, float value) {
  const c10::Half half(value);
  std::memcpy(at, &half, sizeof(half));
}

void pack_q8_0(const float* x, unsigned char* block) {
  float most = 0;
  for (int i = 0; i < 32; ++i) most = std::max(most, std::abs(x[i]));
  const float d = most / 127, inverse = d != 0 ? 1 / d : 0;
  put_half(block, d);
  for (int i = 0; i < 32; ++i) block[2 + i] = static_cast<unsigned char>(static_cast<int8_t>(std::round(x[i] * inverse)));
}

void pack_q4_0(const float* x, unsigned char* block) {
  float most = 0;  // the number farthest from 0, with its sign: it becomes -8 exactly
  for (int i = 0; i < 32; ++i)
    if (std::abs(x[i]) > std::abs(most)) most = x[i];
  const float d = most / -8, inverse = d != 0 ? 1 / d : 0;
  put_half(block, d);
  const auto four_bits = [&](float value) { return std::clamp(static_cast<int>(value * inverse + 8.5F), 0, 15); };
  for (int i = 0; i < 16; ++i) block[2 + i] = static_cast<unsigned char>(four_bits(x[i]) | four_bits(x[i + 16]) << 4);
}

// Scale and minimum (subtracted, 0 or more) of 32 numbers that become 0..15: the best of 21 starts by weighted least squares.
struct ScaleMin {
  float scale = 0, min = 0;
};
ScaleMin fit_k(const float* x) {
  constexpr int kCount = 32, kMost = 15, kSteps = 20;
  std::array<float, kCount> weight{};
  float squares = 0;
  for (int i = 0; i < kCount; ++i) squares += x[i] * x[i];
  const float typical = std::sqrt(squares / kCount);
  float low = x[0], high = x[0], sum_w = 0, sum_x = 0;
  for (int i = 0; i < kCount; ++i) {
    const float w = weight[static_cast<size_t>(i)] = typical + std::abs(x[i]);
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
    sum_w += w;
    sum_x += w * x[i];
  }
  low = std::min(low, 0.0F);
  if (high <= low) return {.scale = 0, .min = -low};
  const auto quantised = [&](float inverse, int i) { return std::clamp(static_cast<int>(std::nearbyint(inverse * (x[i] - low))), 0, kMost); };
  const auto error_of = [&](float inverse, float scale, float min) {
    float sum = 0;
    for (int i = 0; i < kCount; ++i) {
      const float difference = scale * static_cast<float>(quantised(inverse, i)) + min - x[i];
      sum += weight[static_cast<size_t>(i)] * difference * difference;
    }
    return sum;
  };
  const float first = kMost / (high - low);
  ScaleMin best{.scale = 1 / first, .min = low};
  float least = error_of(first, best.scale, best.min);
  for (int step = 0; step <= kSteps; ++step) {
    const float inverse = (-1.0F + 0.1F * static_cast<float>(step) + kMost) / (high - low);
    float sum_q = 0, sum_qq = 0, sum_xq = 0;
    for (int i = 0; i < kCount; ++i) {
      const auto q = static_cast<float>(quantised(inverse, i)), w = weight[static_cast<size_t>(i)];
      sum_q += w * q;
      sum_qq += w * q * q;
      sum_xq += w * q * x[i];
    }
    const float determinant = sum_w * sum_qq - sum_q * sum_q;
    if (determinant <= 0) continue;
    ScaleMin fit{.scale = (sum_w * sum_xq - sum_x * sum_q) / determinant, .min = (sum_qq * sum_x - sum_q * sum_xq) / determinant};
    if (fit.min > 0) fit = {.scale = sum_xq / sum_qq, .min = 0};
    const float error = error_of(inverse, fit.scale, fit.min);
    if (error >= least) continue;
    least = error;
    best = fit;
  }
  return {.scale = best.scale, .min = -best.min};
}

void pack_q4_k(const float* x, unsigned char* block) {
  std::array<ScaleMin, 8> fits;
  float most_scale = 0, most_min = 0;
  for (int run = 0; run < 8; ++run) {
    const auto fit = fits[static_cast<size_t>(run)] = fit_k(x + run * 32);
    most_scale = std::max(most_scale, fit.scale);
    most_min = std::max(most_min, fit.min);
  }
  put_half(block, most_scale / 63);
  put_half(block + 2, most_min / 63);
  std::memset(block + 4, 0, 140);
  unsigned char* packed = block + 4;
  unsigned char* quants = block + 16;
  const float d = static_cast<float>(c10::Half(most_scale / 63)), dmin = static_cast<float>(c10::Half(most_min / 63));
  const auto six_bits = [](float value, float most) {
    return most > 0 ? static_cast<unsigned>(std::clamp(static_cast<int>(std::nearbyint(63 / most * value)), 0, 63)) : 0U;
  };
  for (int run = 0; run < 8; ++run) {
    const auto& fit = fits[static_cast<size_t>(run)];
    const unsigned scale = six_bits(fit.scale, most_scale), min = six_bits(fit.min, most_min);
    if (run < 4) {
      packed[run] = static_cast<unsigned char>(packed[run] | scale);
      packed[run + 4] = static_cast<unsigned char>(packed[run + 4] | min);
    } else {
      packed[run + 4] = static_cast<unsigned char>((scale & 0xf) | (min & 0xf) << 4);
      packed[run - 4] = static_cast<unsigned char>(packed[run - 4] | (scale >> 4) << 6);
      packed[run] = static_cast<unsigned char>(packed[run] | (min >> 4) << 6);
    }
    const float step = d * static_cast<float>(scale), offset = dmin * static_cast<float>(min);
    for (int i = 0; i < 32; ++i) {
      const int q = step > 0 ? std::clamp(static_cast<int>(std::nearbyint((x[run * 32 + i] + offset) / step)), 0, 15) : 0;
      auto& byte = quants[run / 2 * 32 + i];
      byte = static_cast<unsigned char>(byte | q << (run % 2 * 4));
    }
  }
}

using Pack = void (*)(const float*, unsigned char*);
constexpr std::array<std::pair<uint32_t, Pack>, 3> kPacks = {{{8, pack_q8_0}, {2, pack_q4_0}, {12, pack_q4_k}}};

}  // namespace

const QuantFormat* writable_quant_format(std::string_view name) {
  for (const auto& [code, pack] : kPacks)
    if (const auto* format = quant_format(code); format->name == name) return format;
  return nullptr;
}

Tensor quantise(const QuantFormat& format, const Tensor& numbers) {
  const auto* pack = std::find_if(kPacks.begin(), kPacks.end(), [&](const auto& p) { return p.first == format.code; });
  TORCH_CHECK(pack != kPacks.end() && numbers.size(-1) % format.block == 0, "quantise: ", std::string(format.name), " of ", numbers.sizes());
  const Tensor x = numbers.to(at::kCPU, at::kFloat).contiguous();
  const int64_t row = x.size(-1) / format.block * format.bytes;
  const Tensor out = at::empty({x.numel() / x.size(-1), row}, at::kByte);
  const float* from = x.data_ptr<float>();
  auto* to = out.data_ptr<uint8_t>();
  at::parallel_for(0, x.numel() / format.block, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pack->second(from + i * format.block, to + i * format.bytes);
  });
  return out;
}

}  // namespace resflow::nn
