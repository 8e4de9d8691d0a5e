#include "resflow/degradation/kernels.h"

#include <math.h>  // j1 is POSIX, not in <cmath>'s std

#include <c10/util/Exception.h>

#include <numbers>

namespace resflow::degradation {
namespace {

using Grid = std::vector<double>;

// x' S^-1 x over the grid, S = R diag(sigma_x^2, sigma_y^2) R'.
Grid squared_distance(const KernelChoice& k, bool isotropic) {
  const double sigma_y = isotropic ? k.sigma_x : k.sigma_y, angle = isotropic ? 0 : k.angle;
  const double a = 1 / (k.sigma_x * k.sigma_x), b = 1 / (sigma_y * sigma_y), c = std::cos(angle), s = std::sin(angle);
  const double xx = c * c * a + s * s * b, xy = c * s * (a - b), yy = s * s * a + c * c * b;
  const int half = k.size / 2;
  Grid grid;
  for (int y = -half; y <= half; ++y)
    for (int x = -half; x <= half; ++x) grid.push_back(xx * x * x + 2 * xy * x * y + yy * y * y);
  return grid;
}

// The impulse response of an ideal circular low-pass ("jinc"): cutoff J1(cutoff r) / (2 pi r).
Grid jinc(const KernelChoice& k) {
  const int half = k.size / 2;
  Grid octant(static_cast<size_t>((half + 1) * (half + 1)));
  for (int y = 0; y <= half; ++y)
    for (int x = 0; x <= y; ++x) {
      const double r = std::sqrt(static_cast<double>(x * x + y * y)), pi = std::numbers::pi;
      const double value = r == 0 ? k.cutoff * k.cutoff / (4 * pi) : k.cutoff * ::j1(k.cutoff * r) / (2 * pi * r);
      octant[static_cast<size_t>(y * (half + 1) + x)] = octant[static_cast<size_t>(x * (half + 1) + y)] = value;
    }
  Grid grid;
  for (int y = -half; y <= half; ++y)
    for (int x = -half; x <= half; ++x) grid.push_back(octant[static_cast<size_t>(std::abs(y) * (half + 1) + std::abs(x))]);
  return grid;
}

Grid density(const KernelChoice& k) {
  Grid grid;
  switch (k.kind) {
    case KernelKind::none:
      return {1.0};
    case KernelKind::sinc:
      return jinc(k);
    case KernelKind::isotropic:
    case KernelKind::anisotropic:
      grid = squared_distance(k, k.kind == KernelKind::isotropic);
      for (double& v : grid) v = std::exp(-.5 * v);
      return grid;
    case KernelKind::generalised_isotropic:
    case KernelKind::generalised_anisotropic:
      grid = squared_distance(k, k.kind == KernelKind::generalised_isotropic);
      for (double& v : grid) v = std::exp(-.5 * std::pow(v, k.beta));
      return grid;
    case KernelKind::plateau_isotropic:
    case KernelKind::plateau_anisotropic:
      grid = squared_distance(k, k.kind == KernelKind::plateau_isotropic);
      for (double& v : grid) v = 1 / (std::pow(v, k.beta) + 1);
      return grid;
  }
  return grid;
}

}  // namespace

Kernel make_kernel(const KernelChoice& choice) {
  TORCH_CHECK(choice.size % 2 == 1 && choice.size >= 1, "kernel: wanted an odd size, got ", choice.size);
  const Grid grid = density(choice);
  double sum = 0;
  for (const double v : grid) sum += v;
  Kernel kernel{.size = choice.kind == KernelKind::none ? 1 : choice.size, .weights = {}, .line = {}};
  for (const double v : grid) kernel.weights.push_back(static_cast<float>(v / sum));
  if (choice.kind == KernelKind::isotropic) {
    const auto middle = static_cast<size_t>(kernel.size / 2 * kernel.size), size = static_cast<size_t>(kernel.size);
    const double root = std::sqrt(grid[middle + size / 2] * sum);
    for (size_t i = 0; i < size; ++i) kernel.line.push_back(static_cast<float>(grid[middle + i] / root));
  }
  return kernel;
}

}  // namespace resflow::degradation
