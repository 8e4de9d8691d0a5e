// Overlapping tiles over a picture, and their seamless sum.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::image {

struct Tile {
  int64_t y = 0, x = 0, height = 0, width = 0;  // pixels of the padded picture
  bool operator==(const Tile&) const = default;
};

// `size` rounded up to a whole number of `multiple`.
int64_t padded_size(int64_t size, int64_t multiple);
// [.., H, W] -> [.., padded_size(H), padded_size(W)], grown at the bottom and right by reflection (replication where the
// picture is too small to reflect).
Tensor pad_to_multiple(const Tensor& image, int64_t multiple);

// Tiles of tile x tile pixels in row order over the padded picture; neighbours share at least `overlap` pixels; the last of a
// row or column is flush with the border. All positions and sizes are multiples of `multiple` (tile is rounded down, overlap
// up). A picture no larger than a tile is one tile of its own padded size. The tiles spread evenly, so no pair overlaps
// much more than the rest. Throws UserError where tile <= overlap after rounding.
std::vector<Tile> plan_tiles(int64_t height, int64_t width, int64_t tile, int64_t overlap, int64_t multiple);

enum class Window {
  // Raised cosine over the overlap, 1 inside: the default. The change from one tile to the next is spread over the whole
  // overlap, so a difference in tone is a gentle ramp; a tile's interior stays exactly that tile's.
  feather,
  // MultiDiffusion's Gaussian, variance 0.01 of the tile's length squared. After normalising it is a logistic step some 0.035
  // tile lengths wide, whatever the overlap: steeper than the feather for overlaps above that, but no tile's edge counts at all.
  gaussian,
};

struct BlendOptions {
  Window window = Window::feather;
  int64_t feather = 0;  // widest ramp in pixels, centred in the overlap; 0 = the whole overlap
};

// The weighted sum of tiles, normalised. The weights of a grid of tiles are products of a column's and a row's, so each axis
// is normalised by itself, before any tile is seen: no weight plane, and tiles are added straight into the result.
// Memory: the result only. Tiles come in any order, each once.
class TileBlender {
 public:
  // `tiles` as plan_tiles made them (any full grid of rows and columns that covers height x width).
  TileBlender(int64_t channels, int64_t height, int64_t width, const std::vector<Tile>& tiles, BlendOptions options = {});
  // content: [channels, tile.height, tile.width], any float type or device. Not safe to call from two threads at once.
  void add(const Tile& tile, const Tensor& content);
  // float [channels, height, width], CPU. Every tile must have been added.
  Tensor result() const;

 private:
  struct Axis {
    std::vector<std::pair<int64_t, int64_t>> spans;  // first, length
    std::vector<std::vector<float>> weights;         // of each span; sum over spans = 1 everywhere
    size_t index(int64_t first, int64_t length) const;
  };
  static Axis make_axis(std::vector<std::pair<int64_t, int64_t>> spans, int64_t size, const BlendOptions& options);

  Axis rows_, columns_;
  std::vector<bool> added_;
  Tensor sum_;
};

}  // namespace resflow::image
