#include "resflow/image/resize.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "resflow/core/error.h"

using namespace resflow;
using namespace resflow::image;

namespace {
double apart(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }
}  // namespace

TEST_CASE("every kernel keeps a constant picture constant and the same size identical") {
  const Tensor image = at::rand({3, 40, 33});
  for (const auto& name : kernel_names()) {
    CAPTURE(name);
    const Kernel kernel = kernel_named(name);
    CHECK(at::equal(resize(image, 40, 33, kernel), image));
    for (const auto& [h, w] : {std::pair<int64_t, int64_t>{80, 66}, {7, 5}, {41, 100}, {1, 1}})
      CHECK(apart(resize(at::full({2, 40, 33}, 0.7), h, w, kernel), at::full({2, h, w}, 0.7)) < 1e-6);
  }
}

TEST_CASE("area keeps the mean exactly and bicubic nearly") {
  const Tensor image = at::rand({1, 60, 90});
  const double mean = image.mean().item<double>();
  CHECK(std::abs(resize(image, 13, 17, Kernel::area).mean().item<double>() - mean) < 1e-6);
  CHECK(std::abs(resize(image, 30, 45, Kernel::bicubic).mean().item<double>() - mean) < 2e-3);
}

TEST_CASE("bicubic doubling has the weights of a = -0.5") {
  const Tensor image = at::zeros({1, 1, 9});
  image[0][0][4] = 1;
  // Distances 1.75, 1.25, .75, .25 on each side of the impulse.
  const Tensor expected = at::tensor({-0.0234375f, -0.0703125f, 0.2265625f, 0.8671875f, 0.8671875f, 0.2265625f, -0.0703125f, -0.0234375f});
  CHECK(apart(resize(image, 1, 18)[0][0].slice(0, 5, 13), expected) < 1e-6);
}

TEST_CASE("halving by area is the mean of four") {
  const Tensor image = at::arange(16, at::kFloat).view({1, 4, 4});
  CHECK(apart(resize(image, 2, 2, Kernel::area), at::tensor({2.5f, 4.5f, 10.5f, 12.5f}).view({1, 2, 2})) < 1e-6);
}

TEST_CASE("batches, views and blocks of rows give what single planes give") {
  const Tensor images = at::rand({2, 50, 70, 3}).permute({0, 3, 1, 2});
  const Tensor all = resize(images, 133, 91, Kernel::lanczos);
  CHECK(all.sizes() == at::IntArrayRef({2, 3, 133, 91}));
  CHECK(at::equal(all[1].narrow(0, 2, 1), resize(images[1].narrow(0, 2, 1), 133, 91, Kernel::lanczos)));
}

TEST_CASE("unknown kernels and empty sizes are refused") {
  CHECK_THROWS_AS(kernel_named("cubic"), UserError);
  CHECK_THROWS_AS(resize(at::zeros({3, 4, 4}), 0, 4), c10::Error);
}
