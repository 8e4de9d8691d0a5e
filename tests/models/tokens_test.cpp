#include "resflow/models/tokens.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cstdlib>
#include <limits>

using namespace resflow;
using namespace resflow::models;

TEST_CASE("patches put together again are the map, for maps that are no squares too") {
  const auto map = at::arange(2 * 3 * 8 * 12, at::kFloat).view({2, 3, 8, 12});
  for (const int64_t patch : {1, 2, 4}) {
    const auto tokens = patchify(map, patch);
    CHECK(tokens.sizes() == at::IntArrayRef({2, (8 / patch) * (12 / patch), 3 * patch * patch}));
    CHECK(at::equal(unpatchify(tokens, patch, 8 / patch, 12 / patch), map));
  }
}

TEST_CASE("a token holds one patch, tokens go row by row, and inside a token the channel is slowest") {
  const auto map = at::arange(3 * 4 * 6, at::kFloat).view({1, 3, 4, 6});
  const auto token = patchify(map, 2)[0][4];  // 3 tokens a row: row 1, column 1
  CHECK(at::equal(token, map[0].slice(1, 2, 4).slice(2, 2, 4).flatten()));
}

TEST_CASE("image ids are (axis 0, row, column), row by row, in numbers that never collide") {
  const auto ids = image_ids(2, 3, 7);
  CHECK(at::equal(ids, at::tensor({7, 0, 0, 7, 0, 1, 7, 0, 2, 7, 1, 0, 7, 1, 1, 7, 1, 2}, at::kDouble).view({6, 3})));
  CHECK((ids.scalar_type() == at::kDouble));
}

TEST_CASE("a neighbourhood mask lets a token see both streams within the radius in rows and columns, and nothing else") {
  const int64_t rows = 4, columns = 5, radius = 1, count = rows * columns;
  const auto mask = neighbourhood_mask(rows, columns, radius);
  REQUIRE(mask.sizes() == at::IntArrayRef({count, 2 * count}));
  for (int64_t a = 0; a < count; ++a)
    for (int64_t b = 0; b < count; ++b) {
      const bool near = std::abs(a / columns - b / columns) <= radius && std::abs(a % columns - b % columns) <= radius;
      const float wanted = near ? 0 : -std::numeric_limits<float>::infinity();
      REQUIRE(mask[a][b].item<float>() == wanted);
      REQUIRE(mask[a][count + b].item<float>() == wanted);
    }
  CHECK(neighbourhood_mask(3, 3, 2).abs().max().item<double>() == 0);
}
