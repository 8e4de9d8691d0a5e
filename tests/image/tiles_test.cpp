#include "resflow/image/tiles.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <algorithm>

#include "resflow/core/error.h"
#include "resflow/image/artifacts.h"

using namespace resflow;
using namespace resflow::image;

namespace {

double apart(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

Tensor cut(const Tensor& image, const Tile& t) { return image.narrow(1, t.y, t.height).narrow(2, t.x, t.width); }

Tensor blend(const Tensor& image, const std::vector<Tile>& tiles, BlendOptions options, bool backwards = false) {
  TileBlender blender(image.size(0), image.size(1), image.size(2), tiles, options);
  auto order = tiles;
  if (backwards) std::reverse(order.begin(), order.end());
  for (const auto& tile : order) blender.add(tile, cut(image, tile));
  return blender.result();
}

struct Size {
  int64_t height, width, tile, overlap, multiple;
};
const std::vector<Size> sizes{{100, 130, 64, 16, 16}, {64, 64, 64, 16, 16}, {65, 64, 64, 16, 8},   {17, 300, 50, 12, 4},
                              {129, 257, 64, 32, 16}, {1, 1, 64, 16, 16},   {200, 190, 64, 40, 8}, {99, 101, 33, 0, 1}};
const std::vector<BlendOptions> windows{{Window::feather}, {Window::feather, 7}, {Window::gaussian}};

}  // namespace

TEST_CASE("tiles cover the padded picture, overlap enough, are aligned and flush with the border") {
  for (const auto& s : sizes) {
    const int64_t h = padded_size(s.height, s.multiple), w = padded_size(s.width, s.multiple);
    const auto tiles = plan_tiles(s.height, s.width, s.tile, s.overlap, s.multiple);
    Tensor count = at::zeros({1, h, w});
    for (const auto& t : tiles) {
      CHECK(((t.y | t.x | t.height | t.width) >= 0 && t.y % s.multiple + t.x % s.multiple + t.height % s.multiple + t.width % s.multiple == 0));
      CHECK((t.height <= s.tile || t.height == s.multiple));
      CHECK((t.y + t.height <= h && t.x + t.width <= w));
      cut(count, t).add_(1);
    }
    CHECK(count.min().item<double>() >= 1);
    CHECK((tiles.back().y + tiles.back().height == h && tiles.back().x + tiles.back().width == w));
    for (size_t i = 1; i < tiles.size(); ++i)
      if (tiles[i].y == tiles[i - 1].y) CHECK(tiles[i - 1].x + tiles[i - 1].width - tiles[i].x >= s.overlap);
  }
}

TEST_CASE("a small picture is one tile and a tile must exceed its overlap") {
  CHECK((plan_tiles(40, 60, 64, 16, 16) == std::vector<Tile>{{0, 0, 48, 64}}));
  CHECK_THROWS_AS(plan_tiles(100, 100, 32, 32, 16), UserError);
  CHECK_THROWS_AS(plan_tiles(100, 100, 8, 0, 16), UserError);
}

TEST_CASE("tiles cut from one picture blend to that picture, in any order") {
  for (const auto& s : sizes)
    for (const auto& options : windows) {
      const auto tiles = plan_tiles(s.height, s.width, s.tile, s.overlap, s.multiple);
      const Tensor image = at::rand({2, padded_size(s.height, s.multiple), padded_size(s.width, s.multiple)});
      const Tensor blended = blend(image, tiles, options);
      CHECK(apart(blended, image) < 1e-6);
      CHECK(apart(blended, blend(image, tiles, options, true)) < 1e-6);
    }
}

TEST_CASE("a feathered tile is pure inside and the ramp is no wider than asked") {
  const std::vector<Tile> tiles{{0, 0, 4, 64}, {0, 48, 4, 64}};
  const auto share_of_second = [&](BlendOptions options) {
    TileBlender blender(1, 4, 112, tiles, options);
    blender.add(tiles[0], at::zeros({1, 4, 64}));
    blender.add(tiles[1], at::ones({1, 4, 64}));
    return blender.result()[0][2];
  };
  const Tensor whole = share_of_second({}), narrow = share_of_second({Window::feather, 4});
  CHECK(whole.slice(0, 0, 48).max().item<double>() == 0);
  CHECK(whole.slice(0, 64).min().item<double>() == 1);
  CHECK(narrow.slice(0, 0, 54).max().item<double>() == 0);
  CHECK(narrow.slice(0, 58).min().item<double>() == 1);
  CHECK((whole.slice(0, 1) - whole.slice(0, 0, -1)).min().item<double>() >= 0);
  CHECK((whole.slice(0, 1) - whole.slice(0, 0, -1)).max().item<double>() < 0.1);  // pi / 2 / 16
}

TEST_CASE("tiles of different tone leave no seam that is seen, where a plain paste does") {
  const auto tiles = plan_tiles(256, 256, 112, 32, 16);
  const Tensor image = 0.5 + 0.01 * at::randn({3, 256, 256});
  TileBlender soft(3, 256, 256, tiles, {});
  Tensor pasted = image.clone();
  for (size_t i = 0; i < tiles.size(); ++i) {
    const Tensor content = cut(image, tiles[i]) + (i % 2 == 0 ? 2.0 : -2.0) / 255;
    soft.add(tiles[i], content);
    cut(pasted, tiles[i]).copy_(content);
  }
  CHECK(seam_score(soft.result(), tiles) < 4);
  CHECK(seam_score(pasted, tiles) > 8);
}

TEST_CASE("a tile that is missing, foreign or added twice is a bug") {
  const auto tiles = plan_tiles(100, 100, 64, 16, 4);
  TileBlender blender(1, 100, 100, tiles);
  CHECK_THROWS_AS(blender.result(), c10::Error);
  blender.add(tiles[0], at::zeros({1, 64, 64}));
  CHECK_THROWS_AS(blender.add(tiles[0], at::zeros({1, 64, 64})), c10::Error);
  CHECK_THROWS_AS(blender.add({1, 0, 64, 64}, at::zeros({1, 64, 64})), c10::Error);
  CHECK_THROWS_AS(blender.add(tiles[1], at::zeros({1, 64, 60})), c10::Error);
  CHECK_THROWS_AS(TileBlender(1, 100, 100, {{0, 0, 50, 100}}), c10::Error);
  CHECK_THROWS_AS(TileBlender(1, 100, 100, {{0, 0, 60, 60}, {40, 40, 60, 60}}), c10::Error);
}

TEST_CASE("padding reflects, and replicates where there is too little to reflect") {
  const Tensor image = at::arange(6, at::kFloat).view({1, 1, 6});
  CHECK(at::equal(pad_to_multiple(image, 4)[0][0], at::tensor({0.f, 1.f, 2.f, 3.f, 4.f, 5.f, 4.f, 3.f})));
  CHECK(pad_to_multiple(image, 4).size(1) == 4);
  CHECK(at::equal(pad_to_multiple(at::ones({3, 1, 1}), 8), at::ones({3, 8, 8})));
  CHECK(pad_to_multiple(at::rand({3, 8, 16}), 8).sizes() == at::IntArrayRef({3, 8, 16}));
}
