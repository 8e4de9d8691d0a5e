#include "resflow/image/tiles.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "resflow/core/error.h"

namespace resflow::image {
namespace {

// First positions of tiles along one axis, in units of `multiple`.
std::vector<int64_t> starts(int64_t size, int64_t tile, int64_t overlap) {
  if (size <= tile) return {0};
  const int64_t stride = tile - overlap, steps = (size - tile + stride - 1) / stride;
  std::vector<int64_t> out;
  for (int64_t i = 0; i <= steps; ++i) out.push_back((size - tile) * i / steps);
  return out;
}

// Rises from 0 to 1 over [0, width] like a cosine; symmetric: ramp(t) + ramp(width - t) = 1.
double ramp(double t, double width) {
  if (t <= 0) return 0;
  return t >= width ? 1 : 0.5 - 0.5 * std::cos(std::numbers::pi * t / width);
}

// The part of a span's ramp towards its neighbour, whose overlap with it starts at `overlap_first` and is `overlap` long.
double rising(double center, int64_t overlap_first, int64_t overlap, int64_t feather) {
  const double width = static_cast<double>(feather > 0 ? std::min(feather, overlap) : overlap);
  const double from = static_cast<double>(overlap_first) + (static_cast<double>(overlap) - width) / 2;
  return ramp(center - from, width);
}

}  // namespace

int64_t padded_size(int64_t size, int64_t multiple) { return (size + multiple - 1) / multiple * multiple; }

Tensor pad_to_multiple(const Tensor& image, int64_t multiple) {
  TORCH_CHECK(multiple > 0 && image.dim() >= 2, "pad_to_multiple: wanted [.., H, W], got ", image.sizes());
  const int64_t h = image.size(-2), w = image.size(-1), bottom = padded_size(h, multiple) - h, right = padded_size(w, multiple) - w;
  if (bottom == 0 && right == 0) return image;
  // Index by reflection, bounded by the border where the picture is smaller than its padding.
  const auto indices = [&](int64_t size, int64_t grow) {
    Tensor index = at::arange(size + grow, at::kLong);
    return at::where(index < size, index, (2 * (size - 1) - index).clamp(0, size - 1)).to(image.device());
  };
  Tensor out = bottom > 0 ? image.index_select(-2, indices(h, bottom)) : image;
  return right > 0 ? out.index_select(-1, indices(w, right)) : out;
}

std::vector<Tile> plan_tiles(int64_t height, int64_t width, int64_t tile, int64_t overlap, int64_t multiple) {
  TORCH_CHECK(height > 0 && width > 0 && multiple > 0 && overlap >= 0, "plan_tiles: ", height, " x ", width, ", multiple ", multiple);
  const int64_t rows = padded_size(height, multiple) / multiple, columns = padded_size(width, multiple) / multiple;
  const int64_t side = tile / multiple, shared = padded_size(overlap, multiple) / multiple;
  if (side < 1 || side <= shared)
    throw_user_error({.where = "tile",
                      .problem = "too small",
                      .wanted = std::to_string((shared + 1) * multiple) + " or more with an overlap of " + std::to_string(overlap),
                      .got = std::to_string(tile)});
  std::vector<Tile> tiles;
  for (const int64_t y : starts(rows, side, shared))
    for (const int64_t x : starts(columns, side, shared))
      tiles.push_back({y * multiple, x * multiple, std::min(side, rows) * multiple, std::min(side, columns) * multiple});
  return tiles;
}

TileBlender::Axis TileBlender::make_axis(std::vector<std::pair<int64_t, int64_t>> spans, int64_t size, const BlendOptions& options) {
  std::sort(spans.begin(), spans.end());
  spans.erase(std::unique(spans.begin(), spans.end()), spans.end());
  Axis axis{.spans = spans};
  std::vector<double> sum(size, 0.0);
  std::vector<std::vector<double>> raw;
  for (size_t i = 0; i < spans.size(); ++i) {
    const auto [first, length] = spans[i];
    TORCH_CHECK(first >= 0 && length > 0 && first + length <= size, "tile outside of the picture: ", first, " + ", length, " of ", size);
    raw.emplace_back(length);
    for (int64_t k = 0; k < length; ++k) {
      const double center = static_cast<double>(first + k) + 0.5;
      double weight = 1;
      if (options.window == Window::gaussian) {
        const double offset = (static_cast<double>(k) - static_cast<double>(length - 1) / 2) / static_cast<double>(length);
        weight = std::exp(-offset * offset / (2 * 0.01));
      } else {
        if (i > 0) {
          const int64_t end = spans[i - 1].first + spans[i - 1].second;
          if (end > first) weight *= rising(center, first, end - first, options.feather);
        }
        if (i + 1 < spans.size()) {
          const int64_t next = spans[i + 1].first;
          if (first + length > next) weight *= 1 - rising(center, next, first + length - next, options.feather);
        }
      }
      raw.back()[k] = weight;
      sum[first + k] += weight;
    }
  }
  for (int64_t i = 0; i < size; ++i) TORCH_CHECK(sum[i] > 0, "tiles leave row or column ", i, " of ", size, " uncovered");
  for (size_t i = 0; i < spans.size(); ++i) {
    axis.weights.emplace_back(raw[i].size());
    for (size_t k = 0; k < raw[i].size(); ++k) axis.weights[i][k] = static_cast<float>(raw[i][k] / sum[spans[i].first + k]);
  }
  return axis;
}

size_t TileBlender::Axis::index(int64_t first, int64_t length) const {
  const auto found = std::lower_bound(spans.begin(), spans.end(), std::pair{first, length});
  TORCH_CHECK(found != spans.end() && *found == std::pair(first, length), "a tile that was not planned: ", first, " + ", length);
  return found - spans.begin();
}

TileBlender::TileBlender(int64_t channels, int64_t height, int64_t width, const std::vector<Tile>& tiles, BlendOptions options) {
  std::vector<std::pair<int64_t, int64_t>> rows, columns;
  for (const auto& tile : tiles) rows.emplace_back(tile.y, tile.height), columns.emplace_back(tile.x, tile.width);
  rows_ = make_axis(std::move(rows), height, options);
  columns_ = make_axis(std::move(columns), width, options);
  TORCH_CHECK(rows_.spans.size() * columns_.spans.size() == tiles.size(), "tiles are not a grid of rows and columns");
  added_.resize(tiles.size());
  sum_ = at::zeros({channels, height, width}, at::kFloat);
}

void TileBlender::add(const Tile& tile, const Tensor& content) {
  const size_t row = rows_.index(tile.y, tile.height), column = columns_.index(tile.x, tile.width), index = row * columns_.spans.size() + column;
  TORCH_CHECK(!added_[index], "tile at ", tile.y, ", ", tile.x, " was added twice");
  TORCH_CHECK(content.dim() == 3 && content.size(0) == sum_.size(0) && content.size(1) == tile.height && content.size(2) == tile.width,
              "tile content: wanted [", sum_.size(0), ", ", tile.height, ", ", tile.width, "], got ", content.sizes());
  added_[index] = true;
  const Tensor values = content.to(at::kCPU, at::kFloat).contiguous();
  const float *from = values.data_ptr<float>(), *down = rows_.weights[row].data(), *across = columns_.weights[column].data();
  float* to = sum_.data_ptr<float>();
  const int64_t height = sum_.size(1), width = sum_.size(2);
  at::parallel_for(0, sum_.size(0) * tile.height, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t channel = i / tile.height, y = i % tile.height;
      const float *in = from + i * tile.width, weight = down[y];
      if (weight == 0) continue;
      float* out = to + (channel * height + tile.y + y) * width + tile.x;
      for (int64_t x = 0; x < tile.width; ++x) out[x] += weight * across[x] * in[x];
    }
  });
}

Tensor TileBlender::result() const {
  TORCH_CHECK(std::all_of(added_.begin(), added_.end(), [](bool b) { return b; }), "a tile was not added");
  return sum_;
}

}  // namespace resflow::image
