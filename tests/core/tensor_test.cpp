#include "resflow/core/tensor.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

using namespace resflow;

TEST_CASE("check_shape takes numbers as they are and a name for any size, the same name for the same size") {
  const auto image = at::zeros({2, 3, 8, 8});
  CHECK_NOTHROW(check_shape(image, "B 3 H W", "image"));
  CHECK_NOTHROW(check_shape(image, "B 3 S S", "image"));
  CHECK_NOTHROW(check_shape(at::zeros({}), "", "scalar"));
  CHECK_THROWS_WITH_AS(check_shape(image, "B 1 H W", "image"), doctest::Contains("image: wanted shape [B 1 H W], got [2, 3, 8, 8]"), c10::Error);
  CHECK_THROWS_AS(check_shape(image, "B 3 B W", "image"), c10::Error);
  CHECK_THROWS_AS(check_shape(image, "B 3 H", "image"), c10::Error);
  CHECK_THROWS_AS(check_shape(image, "B 3 H W X", "image"), c10::Error);
  CHECK_THROWS_WITH_AS(check_shape({}, "B 3 H W", "image"), doctest::Contains("undefined"), c10::Error);
}
