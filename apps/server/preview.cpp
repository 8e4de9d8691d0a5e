#include "server/preview.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "resflow/image/codec.h"

namespace resflow::server {
namespace {

constexpr double kSide = 640;

}  // namespace

Preview::Preview(const Tensor& source, restore::Size result) : result_(result) {
  const double factor = std::min(1.0, kSide / static_cast<double>(std::max(result.width, result.height)));
  const auto side = [&](int64_t of) { return std::max<int64_t>(1, std::llround(static_cast<double>(of) * factor)); };
  canvas_ = image::resize(source, side(result.height), side(result.width)).clamp_(0, 1);
}

void Preview::show(const image::Region& part, const Tensor& image) {
  const int64_t rows = canvas_.size(1), columns = canvas_.size(2);
  const auto at = [](int64_t place, int64_t of, int64_t to) { return std::clamp<int64_t>(place * to / of, 0, to); };
  const int64_t top = at(part.y, result_.height, rows), bottom = at(part.y + part.height, result_.height, rows);
  const int64_t left = at(part.x, result_.width, columns), right = at(part.x + part.width, result_.width, columns);
  if (top >= bottom || left >= right) return;
  canvas_.narrow(1, top, bottom - top)
      .narrow(2, left, right - left)
      .copy_(image::resize(image.contiguous(), bottom - top, right - left, image::Kernel::area).clamp_(0, 1));
}

void Preview::write(const std::filesystem::path& file) const {
  image::Picture picture;
  picture.pixels = canvas_;
  image::write_picture(file, picture, {.quality = 80});
}

}  // namespace resflow::server
