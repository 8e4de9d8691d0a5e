#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "resflow/image/color_fix.h"

namespace resflow::image {
namespace {

struct Lab {
  float l, a, b;
};

float to_linear(float v) { return v <= 0.04045f ? v / 12.92f : std::pow((v + 0.055f) / 1.055f, 2.4f); }
float from_linear(float v) { return v <= 0.0031308f ? v * 12.92f : 1.055f * std::pow(v, 1 / 2.4f) - 0.055f; }
float forward(float t) { return t > 0.008856452f ? std::cbrt(t) : t * 7.787037f + 4.f / 29; }
float inverse(float t) { return t > 6.f / 29 ? t * t * t : (t - 4.f / 29) / 7.787037f; }

// CIELAB of sRGB, D65 white (IEC 61966-2-1, CIE 15).
constexpr float white_x = 0.950456f, white_z = 1.088754f;
Lab to_lab(float r, float g, float b) {
  r = to_linear(r), g = to_linear(g), b = to_linear(b);
  const float x = forward((0.412453f * r + 0.357580f * g + 0.180423f * b) / white_x);
  const float y = forward(0.212671f * r + 0.715160f * g + 0.072169f * b);
  const float z = forward((0.019334f * r + 0.119193f * g + 0.950227f * b) / white_z);
  return {116 * y - 16, 500 * (x - y), 200 * (y - z)};
}

std::array<float, 3> to_rgb(const Lab& lab) {
  const float fy = (lab.l + 16) / 116, x = white_x * inverse(fy + lab.a / 500), y = inverse(fy), z = white_z * inverse(fy - lab.b / 200);
  const auto encoded = [](float v) { return from_linear(std::clamp(v, 0.f, 1.f)); };
  return {encoded(3.240479f * x - 1.537150f * y - 0.498535f * z), encoded(-0.969256f * x + 1.875992f * y + 0.041556f * z),
          encoded(0.055648f * x - 0.204043f * y + 1.057311f * z)};
}

struct Moments {
  double mean_a, deviation_a, mean_b, deviation_b;
};

// Row sums are added in row order: the same result with any number of threads.
Moments moments(const float* rgb, int64_t height, int64_t width) {
  const int64_t plane = height * width;
  std::vector<std::array<double, 4>> rows(height);
  at::parallel_for(0, height, 8, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y)
      for (int64_t i = y * width; i < (y + 1) * width; ++i) {
        const Lab lab = to_lab(rgb[i], rgb[plane + i], rgb[2 * plane + i]);
        rows[y][0] += lab.a, rows[y][1] += lab.a * lab.a, rows[y][2] += lab.b, rows[y][3] += lab.b * lab.b;
      }
  });
  std::array<double, 4> sum{};
  for (const auto& row : rows)
    for (size_t i = 0; i < 4; ++i) sum[i] += row[i] / static_cast<double>(plane);
  const auto deviation = [](double mean, double square) { return std::sqrt(std::max(square - mean * mean, 0.0) + 1e-5); };
  return {sum[0], deviation(sum[0], sum[1]), sum[2], deviation(sum[2], sum[3])};
}

// The style's mean and deviation of a and b; the content's lightness stays.
class LabTransfer final : public ColorFix {
 public:
  Tensor apply(const Tensor& content, const Tensor& style) const override {
    Tensor out = at::empty_like(content);
    const int64_t height = content.size(2), width = content.size(3), plane = height * width;
    for (int64_t image = 0; image < content.size(0); ++image) {
      const float* from = content.data_ptr<float>() + image * 3 * plane;
      float* to = out.data_ptr<float>() + image * 3 * plane;
      const Moments have = moments(from, height, width), want = moments(style.data_ptr<float>() + image * 3 * plane, height, width);
      const auto gain_a = static_cast<float>(want.deviation_a / have.deviation_a), gain_b = static_cast<float>(want.deviation_b / have.deviation_b);
      const auto shift_a = static_cast<float>(want.mean_a - have.mean_a * gain_a), shift_b = static_cast<float>(want.mean_b - have.mean_b * gain_b);
      at::parallel_for(0, plane, 1 << 14, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          Lab lab = to_lab(from[i], from[plane + i], from[2 * plane + i]);
          lab.a = lab.a * gain_a + shift_a, lab.b = lab.b * gain_b + shift_b;
          const auto rgb = to_rgb(lab);
          for (int64_t c = 0; c < 3; ++c) to[c * plane + i] = rgb[c];
        }
      });
    }
    return out;
  }
};

}  // namespace

Entry<ColorFix> color_fix_lab() {
  return entry<ColorFix, LabTransfer>("lab", "The source's mean and deviation of a and b in CIELAB; lightness stays");
}

}  // namespace resflow::image
