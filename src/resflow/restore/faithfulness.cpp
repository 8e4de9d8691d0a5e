#include "resflow/restore/faithfulness.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "resflow/image/resize.h"

namespace resflow::restore {
namespace {

constexpr int64_t kSide = 1024;      // of the comparison
constexpr int64_t kRows = 256;       // of the result that are corrected at once
constexpr int kRounds = 12;          // a blurred correction corrects less than it says
constexpr double kTolerance = 1.05;  // of the limit, before another round

struct Sides {
  int64_t height, width;
};
Sides comparison_size(const Tensor& source, const Tensor& result) {
  const int64_t h = std::min(source.size(1), result.size(1)), w = std::min(source.size(2), result.size(2));
  const double factor = std::min(1.0, static_cast<double>(kSide) / static_cast<double>(std::max(h, w)));
  const auto scaled = [&](int64_t side) { return std::max<int64_t>(1, std::llround(static_cast<double>(side) * factor)); };
  return {scaled(h), scaled(w)};
}

// [3, h, w]: two box blurs, a Gaussian of about 1.6 px; borders count what lies inside alone.
Tensor small_and_soft(const Tensor& image, Sides sides) {
  Tensor x = image::resize(image, sides.height, sides.width, image::Kernel::area).unsqueeze(0);
  for (const int64_t side : {3, 5}) x = at::avg_pool2d(x, {side, side}, {1, 1}, {side / 2, side / 2}, false, /*count_include_pad=*/false);
  return x.squeeze(0);
}

Faithfulness measured(const Tensor& departure) {  // [3, h, w]
  Faithfulness out;
  out.map = departure.abs().amax(0);
  out.mean = out.map.mean().item<double>();
  out.largest = out.map.max().item<double>();
  out.changed = out.map.gt(kVisibleChange).to(at::kDouble).mean().item<double>();
  const int64_t at = out.map.flatten().argmax().item<int64_t>(), width = out.map.size(1);
  out.x = (static_cast<double>(at % width) + 0.5) / static_cast<double>(width);
  out.y = (static_cast<double>(at / width) + 0.5) / static_cast<double>(out.map.size(0));
  return out;
}

}  // namespace

double Faithfulness::score() const { return 100 * std::max(0.0, 1 - mean / kVisibleChange); }

Faithfulness faithfulness(const Tensor& source, const Tensor& result) {
  const Sides sides = comparison_size(source, result);
  return measured(small_and_soft(result, sides) - small_and_soft(source, sides));
}

Faithfulness hold_back(const Tensor& source, Tensor& result, double most) {
  const Sides sides = comparison_size(source, result);
  const Tensor wanted = small_and_soft(source, sides);
  Faithfulness found;
  for (int round = 0; round <= kRounds; ++round) {
    const Tensor departure = small_and_soft(result, sides) - wanted;  // [3, h, w]
    found = measured(departure);
    if (found.largest <= kTolerance * most || round == kRounds) break;
    const Tensor excess = departure - departure.clamp(-most, most);
    const int64_t height = result.size(1), width = result.size(2);
    for (int64_t y = 0; y < height; y += kRows) {
      const image::Region rows{.y = y, .x = 0, .height = std::min(kRows, height - y), .width = width};
      Tensor part = result.narrow(1, y, rows.height);
      part.sub_(image::resize_region(excess, height, width, rows, image::Kernel::bilinear)).clamp_(0, 1);
    }
  }
  return found;
}

Tensor heat_map(const Faithfulness& found, const Tensor& result) {
  const double factor = std::min(1.0, static_cast<double>(kSide) / static_cast<double>(std::max(result.size(1), result.size(2))));
  const auto scaled = [&](int64_t side) { return std::max<int64_t>(1, std::llround(static_cast<double>(side) * factor)); };
  const int64_t height = scaled(result.size(1)), width = scaled(result.size(2));
  const Tensor grey = image::resize(result, height, width, image::Kernel::area).mean(0).clamp(0, 1);                      // [H', W']
  const Tensor heat = image::resize(found.map.unsqueeze(0), height, width, image::Kernel::bilinear)[0] / kVisibleChange;  // 1 = visible
  const Tensor red = (heat * 2 - 1).clamp(0, 1), green = at::minimum((heat * 2 - 0.5).clamp(0, 1), (3 - heat * 1.5).clamp(0, 1)),
               blue = (1 - heat).clamp(0, 1);
  const Tensor shown = ((heat - 0.25) * 2).clamp(0, 0.75);  // opacity
  return grey * 0.8 * (1 - shown) + at::stack({red, green, blue}) * shown;
}

Json to_json(const Faithfulness& found) {
  return {{"score", found.score()}, {"mean", found.mean}, {"largest", found.largest}, {"changed", found.changed}, {"at", {found.x, found.y}}};
}

}  // namespace resflow::restore
