#include "resflow/image/artifacts.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "resflow/image/resize.h"

using namespace resflow;
using namespace resflow::image;

namespace {

// Smooth large shapes, some texture, sensor noise, 8-bit levels: what a photograph has.
Tensor scene(int64_t size) {
  at::manual_seed(7);
  const Tensor shapes = resize(at::rand({3, 9, 9}), size, size), texture = resize(at::rand({3, size / 4, size / 4}) - 0.5, size, size);
  return (0.15 + 0.7 * shapes + 0.05 * texture + 0.004 * at::randn({3, size, size})).clamp(0, 1);
}
Tensor rounded(const Tensor& image) { return at::round(image * 255) / 255; }

// Blocks of `period` px, each `step` above or below.
Tensor blocks(int64_t size, int64_t period, double step) {
  const Tensor signs = at::randint(0, 2, {1, (size + period - 1) / period, (size + period - 1) / period}, at::kFloat) - 0.5;
  return (signs * step).repeat_interleave(period, 1).repeat_interleave(period, 2).narrow(1, 0, size).narrow(2, 0, size);
}

}  // namespace

TEST_CASE("a picture without a grid scores one, at any period") {
  const Tensor image = rounded(scene(320));
  for (const int64_t period : {8, 16, 32}) CHECK(grid_score(image, period) == doctest::Approx(1).epsilon(0.06));
  CHECK(grid_score(at::full({3, 64, 64}, 0.5), 16) == doctest::Approx(1));
}

TEST_CASE("a grid of one and two levels is seen, and only at its own period") {
  const Tensor image = scene(320);
  const double one = grid_score(rounded(image + blocks(320, 16, 1.0 / 255)), 16), two = grid_score(rounded(image + blocks(320, 16, 2.0 / 255)), 16);
  CHECK(one > 1.1);
  CHECK(two > one * 1.1);
  CHECK(grid_score(rounded(image + blocks(320, 16, 2.0 / 255)), 12) < 1.1);
}

TEST_CASE("a grid of lines in one direction only is seen") {
  Tensor image = scene(256);
  image.slice(1, 0, 256, 16).add_(2.0 / 255);
  CHECK(grid_score(image, 16) > 1.1);
}

TEST_CASE("a step along a tile's border is seen, in both directions and down to one level") {
  const Tensor image = scene(320);
  const std::vector<Tile> tiles{{0, 0, 320, 176}, {0, 144, 320, 176}}, flat{{0, 0, 176, 320}, {144, 0, 176, 320}};
  CHECK(seam_score(rounded(image), tiles) < 3.5);
  CHECK(seam_score(rounded(image), flat) < 3.5);
  for (const int dimension : {1, 2}) {
    Tensor stepped = image.clone();
    stepped.narrow(dimension, 144, 176).add_(1.0 / 255);
    const auto& there = dimension == 2 ? tiles : flat;
    const auto& elsewhere = dimension == 2 ? flat : tiles;
    CHECK(seam_score(rounded(stepped), there) > 5);
    CHECK(seam_score(rounded(stepped), elsewhere) < 3.5);
  }
}

TEST_CASE("one tile has no seam") { CHECK(seam_score(scene(64), {{0, 0, 64, 64}}) == 0); }
