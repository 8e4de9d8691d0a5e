#include "resflow/train/pool.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <map>

using namespace resflow;
using namespace resflow::train;

namespace {

constexpr int64_t kSide = 4;

TrainOptions options() {
  TrainOptions o;
  o.batch = 8;
  o.reuse = 4;
  return o;
}

// Two new samples. Sample n is n everywhere but for a corner, where it is n + 1/2; its degraded picture is that + 1000, the teacher's + 2000. Every
// third batch has no teacher's.
Batch fresh(int64_t number) {
  const Tensor n = at::arange(2 * number, 2 * number + 2, at::kFloat).view({2, 1, 1, 1});
  Tensor clean = n.expand({2, 3, kSide, kSide}).clone();
  clean.select(2, 0).select(2, 0) += 0.5;
  Batch out{.clean = clean, .degraded = clean + 1000, .taught = {}, .known = {}, .small = {}, .places = {}, .words = n.view({2, 1}).to(at::kLong)};
  if (number % 3 != 0) {
    out.taught = clean + 2000;
    out.known = at::ones({2}, at::kBool);
  }
  return out;
}

}  // namespace

TEST_CASE("a sample serves as many steps as asked for, with its company, turned alike") {
  Pool pool(options());
  REQUIRE(pool.fresh() == 2);
  std::map<int64_t, int64_t> served;
  std::map<int64_t, int64_t> corners;  // where the corner came to lie
  for (int64_t step = 0; step < 300; ++step) {
    pool.add(fresh(step), step);
    const Batch batch = pool.draw(step);
    REQUIRE(batch.clean.size(0) == 8);
    CHECK(at::equal(batch.degraded, batch.clean + 1000));
    for (int64_t i = 0; i < 8; ++i) {
      const Tensor picture = batch.clean[i][0];
      const auto sample = static_cast<int64_t>(picture.min().item<float>());
      ++served[sample];
      ++corners[picture.flatten().argmax().item<int64_t>()];
      CHECK(sample / 2 <= step);
      CHECK(batch.words[i].item<int64_t>() == sample);
      const bool taught = sample / 2 % 3 != 0;
      CHECK(batch.known[i].item<bool>() == taught);
      CHECK(at::equal(batch.taught[i], batch.clean[i] + (taught ? 2000 : 0)));
    }
  }
  double sum = 0;
  for (int64_t sample = 200; sample < 400; ++sample) sum += static_cast<double>(served[sample]);  // neither the first, which are alone, nor the last
  CHECK(sum / 200 == doctest::Approx(4).epsilon(0.1));
  CHECK(corners.size() == 4);  // all four corners of the square
}

TEST_CASE("a pool that is filled anew draws what an unbroken one draws") {
  Pool unbroken(options()), resumed(options());
  constexpr int64_t kStep = 77;
  for (int64_t step = 0; step <= kStep; ++step) unbroken.add(fresh(step), step);
  REQUIRE(resumed.first_batch(kStep) > 0);
  for (int64_t number = resumed.first_batch(kStep); number <= kStep; ++number) resumed.add(fresh(number), number);
  const Batch a = unbroken.draw(kStep), b = resumed.draw(kStep);
  CHECK(at::equal(a.clean, b.clean));
  CHECK(at::equal(a.taught, b.taught));
  CHECK_FALSE(at::equal(a.clean, unbroken.draw(kStep - 1).clean));
}
