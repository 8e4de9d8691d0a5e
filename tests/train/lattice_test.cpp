#include "resflow/train/lattice.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/autograd.h>

#include "resflow/core/rng.h"

using namespace resflow;
using namespace resflow::train;

namespace {

// Pictures with detail that repeats nowhere: smoothed noise.
Tensor pictures(int64_t count, uint64_t seed) {
  const Tensor noise = normal_like_shape(Stream(seed, "test.pictures"), {count, 3, 96, 96});
  return (0.5 + 0.3 * at::avg_pool2d(noise, {3, 3}, {1, 1}, {1, 1})).clamp(0, 1);
}

// A fixed pattern of the given period, laid over a picture of 96 px. -> [3, 96, 96]
Tensor fixed_pattern(int64_t period) {
  const Tensor cell = normal_like_shape(Stream(7, "test.cell"), {3, period, period});
  return cell.repeat({1, 96 / period, 96 / period});
}

double size_of(const Tensor& image, const Tensor& clean) {
  LatticeMemory memory;
  memory.absorb(lattice_pattern(image, clean).mean(0));
  return memory.size();
}

}  // namespace

TEST_CASE("a clean picture has no lattice, and errors that do not repeat leave next to none") {
  const Tensor clean = pictures(8, 1);
  CHECK(size_of(clean, clean) == 0);
  const Tensor error = 0.03 * normal_like_shape(Stream(2, "test.error"), clean.sizes());
  const double chance = size_of(clean + error, clean);
  for (const int64_t period : {2, 4, 16}) {
    CAPTURE(period);
    CHECK(size_of(clean + 0.03 * fixed_pattern(period), clean) > 8 * chance);
  }
}

TEST_CASE("a pattern that turns its sign from cell to cell is seen") {
  const Tensor clean = pictures(8, 1);
  const Tensor rows = at::arange(96).div(16, "floor").remainder(2).mul(2).sub(1).to(at::kFloat);
  const Tensor alternating = 0.03 * fixed_pattern(16) * rows.view({1, 96, 1});
  const Tensor checkered = alternating * rows.view({1, 1, 96});
  const double chance = size_of(clean + 0.03 * normal_like_shape(Stream(2, "test.error"), clean.sizes()), clean);
  CHECK(size_of(clean + alternating, clean) > 8 * chance);
  CHECK(size_of(clean + checkered, clean) > 8 * chance);
}

TEST_CASE("detail that gathers in some columns is seen though its errors cancel") {
  const Tensor clean = pictures(8, 1);
  const Tensor gain = at::where(at::arange(96).remainder(4) == 0, 1.5, 1.0).to(at::kFloat).view({1, 1, 1, 96});
  const Tensor smooth = at::avg_pool2d(clean, {5, 5}, {1, 1}, {2, 2}, false, false);
  CHECK(size_of(smooth + gain * (clean - smooth), clean) > 100 * size_of(smooth + 1.1 * (clean - smooth), clean));
}

// Cells that bend at their borders, now up, now down: errors cancel, and the fine detail hardly changes.
TEST_CASE("steps that are larger every 4 px are seen though they go either way") {
  const Tensor clean = at::avg_pool2d(pictures(8, 1), {5, 5}, {1, 1}, {2, 2}, false, false);
  const auto stepped = [&](int64_t period) {  // each cell of 4 columns lifted or lowered as a whole
    const Tensor lifts = 0.01 * normal_like_shape(Stream(5, "test.lifts"), {8, 3, 96, 96 / period});
    return clean + lifts.repeat_interleave(period, 3);
  };
  const auto steps_of = [&](const Tensor& image) {
    const Tensor pattern = lattice_pattern(image, clean).mean(0);
    return pattern.narrow(0, kLatticeSize - kLatticeCell, kLatticeCell);  // by column
  };
  const Tensor found = steps_of(stepped(4)).view({4, 4}).mean(0);  // column 4 k + 3 steps to the next cell
  CAPTURE(found);
  CHECK(found.argmax().item<int64_t>() == 3);
  CHECK(found.max().item<double>() > 0.2);
  CHECK(steps_of(stepped(1)).abs().max().item<double>() < 0.1);
  CHECK(steps_of(clean + 0.2).abs().max().item<double>() < 1e-3);
}

// What the loss is for: descending it takes a pattern away, and nothing grows in its place however long and fast it goes on. (A product with the
// running mean fails here: it goes on pushing while the memory lags, and swings wider each time.)
TEST_CASE("descending the loss removes a fixed pattern and stays there") {
  LatticeMemory memory;
  Tensor added = 0.03 * fixed_pattern(16);
  const double before = size_of(pictures(4, 99) + added, pictures(4, 99));
  constexpr double kStep = 60;
  double largest = 0;
  for (uint64_t step = 0; step < 250; ++step) {
    at::AutoGradMode with_gradients(true);
    const Tensor clean = pictures(4, 100 + step);
    added.requires_grad_(true);
    const Tensor pattern = lattice_pattern(clean + added, clean);  // [4, kLatticeSize]
    const Tensor gradient = torch::autograd::grad({memory.loss(pattern)}, {added})[0];
    memory.absorb(pattern.detach().mean(0));
    added = (added.detach() - kStep * gradient).detach();
    if (step >= 200) largest = std::max(largest, added.abs().max().item<double>());
  }
  CHECK(size_of(pictures(4, 99) + added, pictures(4, 99)) < 0.05 * before);
  CHECK(largest < 0.15);
}

TEST_CASE("the memory is a plain mean at first and a running one later") {
  LatticeMemory memory;
  for (int64_t i = 1; i <= 3; ++i) memory.absorb(at::full({kLatticeSize}, static_cast<double>(i)));
  CHECK(memory.mean[0].item<double>() == doctest::Approx(2));
  for (int64_t i = 0; i < 500; ++i) memory.absorb(at::full({kLatticeSize}, 5.0));
  CHECK(memory.mean[0].item<double>() == doctest::Approx(5).epsilon(1e-3));
  CHECK(memory.size() == doctest::Approx(5 * 25).epsilon(1e-3));
  CHECK(memory.loss(at::full({2, kLatticeSize}, -2.0)).item<double>() == doctest::Approx(5 * 4).epsilon(1e-3));
}
