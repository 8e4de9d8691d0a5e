#include "resflow/restore/output_checks.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "resflow/image/artifacts.h"
#include "resflow/image/resize.h"

namespace resflow::restore {
namespace {

constexpr double kFlat = 0.1;       // the result's contrast over the source's
constexpr double kContrast = 0.02;  // a source below is flat itself
constexpr double kCast = 0.08;
constexpr double kSeam = 10, kGrid = 1.3;
constexpr int64_t kPeriod = 16, kLook = 1024, kSide = 256;

bool finite(const Tensor& image) {  // by rows: a mask of a large picture would be a quarter of it
  for (int64_t y = 0; y < image.size(1); y += kSide)
    if (!at::isfinite(image.narrow(1, y, std::min(kSide, image.size(1) - y))).all().item<bool>()) return false;
  return true;
}

Tensor small(const Tensor& image) {
  return image::resize(image, std::min(kSide, image.size(1)), std::min(kSide, image.size(2)), image::Kernel::area);
}

}  // namespace

std::vector<std::string> complaints_about(const Tensor& source, const Tensor& result, const std::vector<image::Tile>& tiles) {
  if (!finite(result)) return {"values that are no numbers"};
  std::vector<std::string> out;
  const Tensor before = small(source), after = small(result);
  const double contrast = before.std().item<double>(), left = after.std().item<double>();
  if (contrast > kContrast && left < kFlat * contrast)
    out.push_back(fmt::format("a flat picture (contrast {:.3f}, the source's {:.3f})", left, contrast));
  const double cast = (after.mean({1, 2}) - before.mean({1, 2})).abs().max().item<double>();
  if (cast > kCast) out.push_back(fmt::format("a colour cast (a channel's mean is off by {:.0f} of 255)", 255 * cast));
  if (tiles.size() > 1)
    if (const double seam = image::seam_score(result, tiles); seam > kSeam) out.push_back(fmt::format("seams between tiles (score {:.1f})", seam));
  // The middle is enough: a grid is everywhere.
  const int64_t height = result.size(1), width = result.size(2);
  const image::Region middle{.y = std::max<int64_t>(0, (height - kLook) / 2 / kPeriod * kPeriod),
                             .x = std::max<int64_t>(0, (width - kLook) / 2 / kPeriod * kPeriod),
                             .height = std::min(kLook, height),
                             .width = std::min(kLook, width)};
  if (std::min(middle.height, middle.width) >= 8 * kPeriod) {
    const double grid = image::grid_score(result.narrow(1, middle.y, middle.height).narrow(2, middle.x, middle.width), kPeriod);
    if (grid > kGrid && grid > 1.2 * image::grid_score(image::resize_region(source, height, width, middle), kPeriod))
      out.push_back(fmt::format("a grid of 16 px (score {:.2f})", grid));
  }
  return out;
}

}  // namespace resflow::restore
