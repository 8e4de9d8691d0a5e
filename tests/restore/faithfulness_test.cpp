#include "resflow/restore/faithfulness.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <limits>

#include "resflow/core/rng.h"
#include "resflow/image/resize.h"
#include "resflow/restore/output_checks.h"

namespace resflow::restore {
namespace {

Tensor noise(int64_t height, int64_t width, uint64_t seed = 1) { return normal_like_shape(Stream(seed, "test"), {3, height, width}); }

// A smooth scene, [3, h, w], .2 to .8.
Tensor scene(int64_t height, int64_t width) {
  return image::resize(at::sigmoid(noise(5, 7, 3)).mul(0.6).add(0.2), height, width).clamp(0.05, 0.95).contiguous();
}

TEST_CASE("a picture is faithful to itself, at any size and scale, and noise that is taken away hardly counts") {
  for (const auto [h, w, scale] : {std::tuple{40, 60, 1}, {40, 60, 4}, {7, 5, 2}, {1, 1, 3}}) {
    const Tensor source = scene(h, w);
    const Tensor larger = image::resize(source, h * scale, w * scale).clamp(0, 1);
    CHECK(faithfulness(source, larger).largest < 0.03);
    CHECK(faithfulness(source, larger).score() > 90);
  }
  const Tensor clean = scene(64, 96), noisy = (clean + 0.05 * noise(64, 96)).clamp(0, 1);
  CHECK(faithfulness(noisy, clean).changed < 0.02);
  CHECK(faithfulness(noisy, clean).score() > 60);
}

TEST_CASE("a thing that was put in is found where it is") {
  const Tensor source = scene(64, 96);
  Tensor result = image::resize(source, 256, 384).clamp(0, 1).contiguous();
  result.narrow(1, 160, 40).narrow(2, 80, 40).fill_(1);  // 10 x 10 of the source at row 40, column 20
  const auto found = faithfulness(source, result);
  CHECK(found.largest > 0.2);
  CHECK(found.x == doctest::Approx(25.0 / 96).epsilon(0.25));
  CHECK(found.y == doctest::Approx(45.0 / 64).epsilon(0.15));
  CHECK(found.changed > 60.0 / (64 * 96));
  CHECK(found.changed < 300.0 / (64 * 96));
  const Tensor map = heat_map(found, result);
  CHECK(map.sizes() == result.sizes());
  const Tensor inside = map.narrow(1, 170, 20).narrow(2, 90, 20).mean({1, 2}), outside = map.narrow(1, 10, 40).narrow(2, 300, 40).mean({1, 2});
  CHECK(inside[0].item<double>() > inside[2].item<double>() + 0.3);     // red
  CHECK((outside - outside.mean()).abs().max().item<double>() < 0.02);  // grey
}

TEST_CASE("what is held back is within the limit, and only what was too much is touched") {
  const Tensor source = scene(64, 96);
  Tensor result = (image::resize(source, 256, 384) + 0.01 * noise(256, 384)).clamp(0, 1).contiguous();
  result.narrow(1, 160, 40).narrow(2, 80, 40).fill_(0.95);
  result.narrow(1, 20, 8).narrow(2, 200, 120).fill_(0);
  const Tensor before = result.clone();
  const double most = 0.06;
  REQUIRE(faithfulness(source, result).largest > 3 * most);
  const auto found = hold_back(source, result, most);
  CHECK(found.largest <= 1.1 * most);
  CHECK(faithfulness(source, result).largest == doctest::Approx(found.largest));
  CHECK((result - before).narrow(2, 0, 50).abs().max().item<double>() == 0);  // far from both
  CHECK(result.min().item<double>() >= 0);
  CHECK(result.max().item<double>() <= 1);
}

TEST_CASE("broken results are told, sound ones are not") {
  const Tensor source = (scene(96, 96) + 0.1 * noise(96, 96)).clamp(0, 1);
  const Tensor sound = image::resize(source, 384, 384).clamp(0, 1).contiguous();
  const std::vector<image::Tile> one{{.y = 0, .x = 0, .height = 384, .width = 384}},
      two{{.y = 0, .x = 0, .height = 384, .width = 200}, {.y = 0, .x = 176, .height = 384, .width = 208}};
  CHECK(complaints_about(source, sound, two).empty());
  const auto complaint = [&](const Tensor& result, const std::vector<image::Tile>& tiles) {
    const auto found = complaints_about(source, result, tiles);
    return found.size() == 1 ? found[0] : "of " + std::to_string(found.size());
  };
  Tensor broken = sound.clone();
  broken[1][100][7] = std::numeric_limits<float>::quiet_NaN();
  CHECK(complaint(broken, one).starts_with("values"));
  CHECK(complaints_about(source, at::full({3, 384, 384}, sound.mean().item<float>()), one)[0].starts_with("a flat picture"));
  CHECK(complaint(sound * 0.9 + at::tensor({0.1F, 0.F, 0.F}).view({3, 1, 1}) * 1.6, one).starts_with("a colour cast"));
  Tensor seam = sound.clone();
  seam.narrow(2, 200, 184).add_(0.06);
  CHECK(complaint(seam, two).starts_with("seams"));
  CHECK(complaints_about(source, seam, one).empty());
  const Tensor cells = normal_like_shape(Stream(9, "cells"), {1, 24, 24}).mul(0.03).repeat_interleave(16, 1).repeat_interleave(16, 2);
  CHECK(complaint((sound + cells).clamp(0, 1), one).starts_with("a grid"));
  CHECK(complaints_about((sound + cells).clamp(0, 1), (sound + cells).clamp(0, 1), one).empty());  // the source's own
}

}  // namespace
}  // namespace resflow::restore
