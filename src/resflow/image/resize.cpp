#include "resflow/image/resize.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "resflow/core/registry.h"

namespace resflow::image {
namespace {

constexpr int64_t block_rows = 32;

double support_of(Kernel kernel) {
  switch (kernel) {
    case Kernel::bicubic:
      return 2;
    case Kernel::lanczos:
      return 3;
    case Kernel::bilinear:
      return 1;
    case Kernel::area:
      return 0.5;
  }
  return 1;
}

double sinc(double x) { return x == 0 ? 1 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x); }

double value_of(Kernel kernel, double x) {
  x = std::abs(x);
  switch (kernel) {
    case Kernel::bicubic: {
      constexpr double a = -0.5;
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
    }
    case Kernel::lanczos:
      return x < 3 ? sinc(x) * sinc(x / 3) : 0;
    case Kernel::bilinear:
      return x < 1 ? 1 - x : 0;
    case Kernel::area:
      return 0;  // by coverage, see taps()
  }
  return 0;
}

// For each new position: the first source position and a row of `width` weights (zeros at its end).
struct Taps {
  std::vector<int64_t> first;
  std::vector<float> weights;
  int64_t width = 0;
  const float* row(int64_t i) const { return weights.data() + i * width; }
};

// New positions [begin, begin + count) of an axis that goes from `from` to `to`.
Taps taps(Kernel kernel, int64_t from, int64_t to, int64_t begin_at, int64_t count) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), widened = std::max(scale, 1.0);
  const double reach = kernel == Kernel::area ? scale / 2 : support_of(kernel) * widened;
  Taps out{.first = std::vector<int64_t>(count), .width = std::min<int64_t>(from, static_cast<int64_t>(std::ceil(reach)) * 2 + 2)};
  out.weights.assign(count * out.width, 0.f);
  std::vector<double> w(out.width);
  for (int64_t i = 0; i < count; ++i) {
    const double center = (static_cast<double>(begin_at + i) + 0.5) * scale, low = center - reach, high = center + reach;
    const bool area = kernel == Kernel::area;
    const int64_t begin = std::max<int64_t>(0, static_cast<int64_t>(area ? std::floor(low + 1e-9) : std::floor(low + 0.5)));
    const int64_t end = std::min<int64_t>(from, static_cast<int64_t>(area ? std::ceil(high - 1e-9) : std::floor(high + 0.5)));
    double sum = 0;
    for (int64_t k = begin; k < end; ++k) {
      const double at = static_cast<double>(k);
      w[k - begin] = area ? std::min(high, at + 1) - std::max(low, at) : value_of(kernel, (at + 0.5 - center) / widened);
      sum += w[k - begin];
    }
    out.first[i] = std::min(begin, from - out.width);
    for (int64_t k = begin; k < end; ++k) out.weights[i * out.width + k - out.first[i]] = static_cast<float>(w[k - begin] / sum);
  }
  return out;
}

void resize_rows(const float* in, int64_t width, const Taps& across, int64_t new_width, float* out) {
  for (int64_t x = 0; x < new_width; ++x) {
    const float *from = in + across.first[x], *weights = across.row(x);
    float sum = 0;
    for (int64_t k = 0; k < across.width; ++k) sum += from[k] * weights[k];
    out[x] = sum;
  }
}

// One plane: rows [begin, end) of the result.
void resize_block(const float* in, int64_t width, const Taps& across, const Taps& down, int64_t begin, int64_t end, int64_t new_width, float* out) {
  const int64_t first = down.first[begin], last = down.first[end - 1] + down.width;  // first[] never falls
  std::vector<float> rows((last - first) * new_width);
  for (int64_t y = first; y < last; ++y) resize_rows(in + y * width, width, across, new_width, rows.data() + (y - first) * new_width);
  for (int64_t y = begin; y < end; ++y) {
    float* to = out + y * new_width;
    std::fill(to, to + new_width, 0.f);
    for (int64_t k = 0; k < down.width; ++k) {
      const float weight = down.row(y)[k];
      if (weight == 0) continue;
      const float* from = rows.data() + (down.first[y] - first + k) * new_width;
      for (int64_t x = 0; x < new_width; ++x) to[x] += weight * from[x];
    }
  }
}

}  // namespace

std::vector<std::string> kernel_names() { return {"bicubic", "lanczos", "bilinear", "area"}; }

Kernel kernel_named(const std::string& name) {
  const auto names = kernel_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) throw_unknown_name("resize kernel", name, names);
  return static_cast<Kernel>(found - names.begin());
}

Tensor resize(const Tensor& image, int64_t height, int64_t width, Kernel kernel) {
  return resize_region(image, height, width, {.y = 0, .x = 0, .height = height, .width = width}, kernel);
}

Tensor resize_region(const Tensor& image, int64_t height, int64_t width, const Region& region, Kernel kernel) {
  TORCH_CHECK(image.dim() == 3 || image.dim() == 4, "resize: wanted [C, H, W] or [B, C, H, W], got ", image.sizes());
  TORCH_CHECK(image.scalar_type() == at::kFloat && image.device().is_cpu(), "resize: wanted float on the CPU");
  TORCH_CHECK(region.y >= 0 && region.x >= 0 && region.height > 0 && region.width > 0 && region.y + region.height <= height &&
                  region.x + region.width <= width && image.numel() > 0,
              "resize: empty or outside: ", image.sizes(), " to ", height, " x ", width);
  const int64_t h = image.size(-2), w = image.size(-1), planes = image.numel() / (h * w);
  if (h == height && w == width)
    return image.narrow(-2, region.y, region.height).narrow(-1, region.x, region.width).clone(at::MemoryFormat::Contiguous);
  const Tensor source = image.contiguous();
  auto sizes = image.sizes().vec();
  sizes[sizes.size() - 2] = region.height;
  sizes[sizes.size() - 1] = region.width;
  Tensor out = at::empty(sizes, source.options());
  const Taps across = taps(kernel, w, width, region.x, region.width), down = taps(kernel, h, height, region.y, region.height);
  const float* in = source.data_ptr<float>();
  float* to = out.data_ptr<float>();
  const int64_t blocks = (region.height + block_rows - 1) / block_rows;
  at::parallel_for(0, planes * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t plane = i / blocks, row = i % blocks * block_rows;
      resize_block(in + plane * h * w, w, across, down, row, std::min(region.height, row + block_rows), region.width,
                   to + plane * region.height * region.width);
    }
  });
  return out;
}

}  // namespace resflow::image
