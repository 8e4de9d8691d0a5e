#include "resflow/flow/schedule.h"

#include <c10/util/Exception.h>
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace resflow::flow;

TEST_CASE("linear levels fall evenly from the first to 0") {
  CHECK(linear_sigmas(4) == std::vector<double>{1, 0.75, 0.5, 0.25, 0});
  CHECK(linear_sigmas(2, 0.5) == std::vector<double>{0.5, 0.25, 0});
  CHECK(linear_sigmas(1) == std::vector<double>{1, 0});
  CHECK_THROWS_AS(linear_sigmas(0), c10::Error);
  CHECK_THROWS_AS(linear_sigmas(4, 0), c10::Error);
  CHECK_THROWS_AS(linear_sigmas(4, 1.1), c10::Error);
}

TEST_CASE("a shift keeps both ends and the order, moves levels towards noise, and is none at mu 0") {
  const auto even = linear_sigmas(30);
  for (const double mu : {0.5, 1.15, 3.23}) {
    const auto shifted = shift_sigmas(even, mu);
    CHECK(shifted.front() == 1);
    CHECK(shifted.back() == 0);
    for (size_t i = 1; i < shifted.size(); ++i) CHECK(shifted[i] < shifted[i - 1]);
    for (size_t i = 1; i + 1 < shifted.size(); ++i) CHECK(shifted[i] > even[i]);
  }
  for (size_t i = 0; i < even.size(); ++i) CHECK(shift_sigmas(even, 0)[i] == doctest::Approx(even[i]));
  CHECK(shift_sigmas({0.5}, std::log(3.0))[0] == doctest::Approx(0.75));
  // Shifts compose: mu adds up.
  CHECK(shift_sigmas(shift_sigmas({0.3}, 0.4), 0.8)[0] == doctest::Approx(shift_sigmas({0.3}, 1.2)[0]));
}

TEST_CASE("mu is FLUX's line in the number of tokens, not clamped at its ends") {
  CHECK(resolution_mu(256) == doctest::Approx(0.5));
  CHECK(resolution_mu(4096) == doctest::Approx(1.15));
  CHECK(resolution_mu(16384) == doctest::Approx(3.23));
  CHECK(resolution_mu(64) < 0.5);
}
