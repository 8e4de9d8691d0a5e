#include "resflow/rewards/frechet.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>

#include "resflow/core/rng.h"

using namespace resflow;
using rewards::frechet_distance;

namespace {

Tensor features(int64_t count, int64_t width, const char* purpose) { return normal_like_shape(Stream(1, purpose), {count, width}).to(at::kDouble); }

}  // namespace

TEST_CASE("two sets along one line are as far as their means and their deviations") {
  const auto a = features(50, 1, "a"), b = 2.5 * features(31, 1, "b") + 4;
  const double means = (a.mean() - b.mean()).item<double>(), deviations = (a.std() - b.std()).item<double>();
  CHECK(frechet_distance(a, b) == doctest::Approx(means * means + deviations * deviations).epsilon(1e-12));
}

TEST_CASE("a set is at no distance from itself, and of as much to another as the other to it") {
  const auto a = features(9, 40, "a"), b = features(70, 40, "b") + 0.3;
  CHECK(std::abs(frechet_distance(a, a)) < 1e-10);
  CHECK(frechet_distance(a, b) == doctest::Approx(frechet_distance(b, a)).epsilon(1e-12));
  CHECK(frechet_distance(a + 1, a) == doctest::Approx(40).epsilon(1e-12));
}

TEST_CASE("the distance does not depend on the axes, nor on features that never change") {
  const auto a = features(60, 12, "a"), b = 0.5 * features(80, 12, "b");
  const auto turn = std::get<0>(at::linalg_qr(features(12, 12, "turn")));
  const double plain = frechet_distance(a, b);
  CHECK(frechet_distance(a.mm(turn), b.mm(turn)) == doctest::Approx(plain).epsilon(1e-10));
  // Now there are more features than pictures.
  CHECK(frechet_distance(at::constant_pad_nd(a, {0, 100}), at::constant_pad_nd(b, {0, 100})) == doctest::Approx(plain).epsilon(1e-10));
}
