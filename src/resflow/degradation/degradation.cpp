#include "resflow/degradation/degradation.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "resflow/degradation/filter.h"
#include "resflow/degradation/jpeg.h"
#include "resflow/degradation/noise.h"

namespace resflow::degradation {
namespace {

Planes to_planes(const Tensor& image) {
  Planes planes(image.size(1), image.size(2));
  const auto* from = image.const_data_ptr<float>();
  for (int64_t channel = 0; channel < 3; ++channel)
    for (int64_t y = 0; y < planes.height(); ++y, from += planes.width())
      std::memcpy(planes.row(channel, y), from, static_cast<size_t>(planes.width()) * sizeof(float));
  return planes;
}

// Clamps and rounds to multiples of 1/255.
Tensor to_image(const Planes& planes) {
  Tensor image = at::empty({3, planes.height(), planes.width()}, at::kFloat);
  auto* to = image.data_ptr<float>();
  for (int64_t channel = 0; channel < 3; ++channel)
    for (int64_t y = 0; y < planes.height(); ++y) {
      const float* from = planes.row(channel, y);
      for (int64_t x = 0; x < planes.width(); ++x) *to++ = std::nearbyint(std::clamp(from[x], 0.f, 1.f) * 255) / 255;
    }
  return image;
}

void resize_to(Planes& planes, int64_t height, int64_t width, Interpolation mode, double factor = 0) {
  if (height == planes.height() && width == planes.width() && (factor == 0 || factor == 1)) return;
  planes = resize(planes, height, width, mode, factor);
}

void add_noise(Planes& planes, const NoiseChoice& noise, const Stream& stream) {
  if (noise.poisson) {
    planes.clamp01();
    add_poisson_noise(planes, noise.strength, noise.grey, stream);
  } else {
    add_gaussian_noise(planes, noise.strength, noise.grey, stream);
  }
}

// At least one pixel remains, however small the factor.
int64_t scaled(double size, double factor) { return std::max<int64_t>(1, static_cast<int64_t>(std::floor(size * factor))); }

}  // namespace

Tensor apply_plan(const Tensor& image, const Plan& plan, int scale, const Stream& stream) {
  check_shape(image, "3 H W", "degrade: image");
  TORCH_CHECK(scale >= 1 && scale <= 8, "degrade: wanted a scale of 1..8, got ", scale);
  const int64_t height = image.size(1), width = image.size(2);
  TORCH_CHECK(height > 0 && width > 0 && height % scale == 0 && width % scale == 0, "degrade: wanted sides that are multiples of ", scale, ", got ",
              height, "x", width);
  TORCH_CHECK(image.is_cpu() && image.is_contiguous() && image.scalar_type() == at::kFloat, "degrade: wanted a contiguous float image on the CPU");

  Planes planes = to_planes(image);
  filter(planes, make_kernel(plan.first.blur));
  const double factor = plan.first.resize_factor;
  resize_to(planes, scaled(static_cast<double>(height), factor), scaled(static_cast<double>(width), factor), plan.first.resize_mode, factor);
  add_noise(planes, plan.first.noise, stream.child("noise", 1));
  jpeg_round_trip(planes, plan.first.jpeg_quality);

  filter(planes, make_kernel(plan.second.blur));
  const int64_t end_height = height / scale, end_width = width / scale;
  resize_to(planes, scaled(static_cast<double>(end_height), plan.second.resize_factor),
            scaled(static_cast<double>(end_width), plan.second.resize_factor), plan.second.resize_mode);
  add_noise(planes, plan.second.noise, stream.child("noise", 2));
  if (!plan.jpeg_last) jpeg_round_trip(planes, plan.second.jpeg_quality);
  resize_to(planes, end_height, end_width, plan.final_mode);
  filter(planes, make_kernel(plan.final_sinc));
  if (plan.jpeg_last) jpeg_round_trip(planes, plan.second.jpeg_quality);
  return to_image(planes);
}

Tensor degrade(const Tensor& image, const Recipe& recipe, int scale, Stream stream) {
  return apply_plan(image, draw_plan(recipe, stream.child("plan")), scale, stream);
}

}  // namespace resflow::degradation
