#include "resflow/image/side_by_side.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

using namespace resflow;
using namespace resflow::image;

TEST_CASE("two pictures are joined with a white line between") {
  const Tensor a = at::rand({3, 5, 7}), b = at::rand({3, 5, 7}), joined = side_by_side({a, b}, 2);
  CHECK(joined.sizes() == at::IntArrayRef({3, 5, 16}));
  CHECK(at::equal(joined.narrow(2, 0, 7), a));
  CHECK(at::equal(joined.narrow(2, 9, 7), b));
  CHECK(joined.narrow(2, 7, 2).min().item<double>() == 1);
}

TEST_CASE("a sheet fills short rows with white and refuses unequal pictures") {
  const Tensor a = at::zeros({3, 4, 6}), sheet = contact_sheet({{a, a}, {a}}, 1);
  CHECK(sheet.sizes() == at::IntArrayRef({3, 9, 13}));
  CHECK(sheet.narrow(1, 5, 4).narrow(2, 7, 6).min().item<double>() == 1);
  CHECK_THROWS_AS(contact_sheet({{a, at::zeros({3, 4, 5})}}), c10::Error);
  CHECK_THROWS_AS(side_by_side({}), c10::Error);
}
