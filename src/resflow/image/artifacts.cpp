#include "resflow/image/artifacts.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

namespace resflow::image {
namespace {

constexpr int64_t near = 2, far = 9;    // the lines beside a border that it is compared with
constexpr double quantum = 0.5 / 255;   // half an 8-bit step: what texture there is at least
constexpr double floor_of_mean = 0.02;  // keeps two nearly zero means from making a large ratio

// A picture as lines that run across a border: at(line, x). Transposed for horizontal borders.
struct Lines {
  const float* data;
  int64_t count, length, per_line, per_x;
  double at(int64_t line, int64_t x) const { return data[line * per_line + x * per_x]; }
  // The jump from x - 1 to x less the mean slope on both sides. 2 <= x <= length - 2.
  double jump(int64_t line, int64_t x) const {
    return (at(line, x) - at(line, x - 1)) - 0.5 * ((at(line, x + 1) - at(line, x)) + (at(line, x - 1) - at(line, x - 2)));
  }
  bool has(int64_t x) const { return x >= 2 && x <= length - 2; }
};

Tensor grey(const Tensor& image) {
  TORCH_CHECK(image.dim() == 3, "artifacts: wanted [C, H, W], got ", image.sizes());
  return image.to(at::kCPU, at::kFloat).mean(0).contiguous();
}

Lines lines_of(const Tensor& plane, bool transposed) {
  const int64_t h = plane.size(0), w = plane.size(1);
  return transposed ? Lines{plane.data_ptr<float>(), w, h, 1, w} : Lines{plane.data_ptr<float>(), h, w, w, 1};
}

double border_score(const Lines& lines, int64_t x, int64_t from, int64_t to) {
  std::vector<int64_t> beside;
  for (int64_t offset = near; offset <= far; ++offset)
    for (const int64_t other : {x - offset, x + offset})
      if (lines.has(other)) beside.push_back(other);
  if (!lines.has(x) || beside.empty() || from >= to) return 0;
  double here = 0;
  std::vector<double> there(beside.size()), jumps(beside.size());
  for (int64_t line = from; line < to; ++line) {
    double texture = 0;
    for (size_t i = 0; i < beside.size(); ++i) {
      jumps[i] = lines.jump(line, beside[i]);
      texture += std::abs(jumps[i]) / static_cast<double>(beside.size());
    }
    const auto relative = [&](double jump) { return std::clamp(jump / (texture + quantum), -2.0, 2.0); };
    here += relative(lines.jump(line, x));
    for (size_t i = 0; i < beside.size(); ++i) there[i] += relative(jumps[i]);
  }
  const double count = static_cast<double>(to - from);
  double square = 0;
  for (const double sum : there) square += sum * sum / (count * count) / static_cast<double>(beside.size());
  return std::abs(here / count) / (std::sqrt(square) + floor_of_mean);
}

double grid_score_along(const Lines& lines, int64_t period) {
  constexpr int64_t half_window = 8;
  const int64_t first = 2, last = lines.length - 2, count = last - first + 1;
  std::vector<double> column(count), jumps(count), sums(count + 1);
  for (int64_t line = 0; line < lines.count; ++line) {
    for (int64_t i = 0; i < count; ++i) {
      jumps[i] = std::abs(lines.jump(line, first + i));
      sums[i + 1] = sums[i] + jumps[i];
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t low = std::max<int64_t>(0, i - half_window), high = std::min(count, i + half_window + 1);
      const double texture = (sums[high] - sums[low]) / static_cast<double>(high - low);
      column[i] += std::min(jumps[i] / (texture + quantum), 4.0);
    }
  }
  // A step reaches into the jumps one pixel beside it: those phases are neither on the grid nor off it.
  double on = 0, off = 0;
  int64_t on_count = 0, off_count = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t phase = (first + i) % period;
    if (phase == 0) on += column[i], ++on_count;
    if (phase > 1 && phase < period - 1) off += column[i], ++off_count;
  }
  const double tiny = 1e-9 * static_cast<double>(lines.count);  // a flat picture scores 1
  return (on / static_cast<double>(on_count) + tiny) / (off / static_cast<double>(off_count) + tiny);
}

}  // namespace

double seam_score(const Tensor& image, const std::vector<Tile>& tiles) {
  const Tensor plane = grey(image);
  const int64_t h = plane.size(0), w = plane.size(1);
  std::set<std::tuple<bool, int64_t, int64_t, int64_t>> segments;  // horizontal?, position, from, to
  for (const auto& tile : tiles) {
    for (const int64_t x : {tile.x, tile.x + tile.width}) segments.insert({false, x, tile.y, std::min(h, tile.y + tile.height)});
    for (const int64_t y : {tile.y, tile.y + tile.height}) segments.insert({true, y, tile.x, std::min(w, tile.x + tile.width)});
  }
  double worst = 0;
  for (const auto& [horizontal, at, from, to] : segments) worst = std::max(worst, border_score(lines_of(plane, horizontal), at, from, to));
  return worst;
}

double grid_score(const Tensor& image, int64_t period) {
  const Tensor plane = grey(image);
  TORCH_CHECK(period >= 4 && plane.size(0) >= 3 * period && plane.size(1) >= 3 * period, "grid_score: period ", period, " in ", plane.sizes());
  return std::max(grid_score_along(lines_of(plane, false), period), grid_score_along(lines_of(plane, true), period));
}

}  // namespace resflow::image
