// Laws that every metric of the registry obeys, and hand-computed values of single ones. Those of downloaded files:
// test_network_metrics.py, on random weights.
#include "resflow/rewards/metric.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>

#include "resflow/core/error.h"
#include "resflow/core/rng.h"

using namespace resflow;
using namespace resflow::rewards;

namespace {

// Noise in octaves, the coarser the stronger: the 1/f spectrum of photographs. [1, 3, H, W] in 0..1.
Tensor textured(int64_t height, int64_t width) {
  auto sum = at::zeros({1, 3, height, width});
  for (int64_t scale = 1; scale <= 64; scale *= 2) {
    const auto octave = normal_like_shape(Stream(1, "octave", scale), {1, 1, height / scale + 1, width / scale + 1});
    sum += std::pow(static_cast<double>(scale), 0.75) * at::upsample_bicubic2d(octave, {height, width}, false);
  }
  return at::sigmoid((sum - sum.mean()) / sum.std());
}

Tensor blurred(const Tensor& image) { return at::avg_pool2d(at::replication_pad2d(image, {3, 3, 3, 3}), {7, 7}, {1, 1}); }

}  // namespace

TEST_CASE("every metric that ships is finite, and ranks a picture above its heavily blurred self") {
  const auto clean = textured(200, 232);
  for (const auto& name : shipped_metrics()) {
    CAPTURE(name);
    const auto metric = metrics().make(name);
    const double sign = metric->higher_is_better() ? 1 : -1, good = metric->score(clean, clean), bad = metric->score(blurred(clean), clean);
    CHECK(std::isfinite(good));
    CHECK(std::isfinite(bad));
    CHECK(sign * good > sign * bad);
  }
}

TEST_CASE("a metric that needs no reference scores the same with one") {
  const auto clean = textured(200, 232);
  for (const auto& name : shipped_metrics()) {
    const auto metric = metrics().make(name);
    if (!metric->needs_reference()) CHECK(metric->score(clean, Tensor()) == metric->score(clean, blurred(clean)));
  }
}

TEST_CASE("psnr of one step of 255 everywhere is 48.13 dB in colours and 49.45 dB in luma") {
  const auto a = at::full({1, 3, 20, 20}, 100.0 / 255), b = at::full({1, 3, 20, 20}, 101.0 / 255);
  const auto psnr = metrics().make("psnr");
  CHECK(psnr->score(a, b, {.luma = false}) == doctest::Approx(20 * std::log10(255.0)).epsilon(1e-5));
  CHECK(psnr->score(a, b) == doctest::Approx(20 * std::log10(255.0 * 255 / 219)).epsilon(1e-5));
}

TEST_CASE("pixels in the cropped border do not count") {
  const auto a = textured(40, 40);
  auto b = a.clone();
  b.narrow(2, 0, 4).zero_();
  b.narrow(3, 36, 4).zero_();
  const auto psnr = metrics().make("psnr"), ssim = metrics().make("ssim");
  CHECK(psnr->score(b, a) == psnr->score(a, a));
  CHECK(ssim->score(b, a) == doctest::Approx(1));
  CHECK(psnr->score(b, a, {.crop_border = 3}) < 40);
  CHECK(ssim->score(b, a, {.crop_border = 3}) < 0.999);
}

TEST_CASE("ssim of two constant pictures is its luminance term") {
  const auto a = at::full({1, 3, 32, 32}, 50.0 / 255), b = at::full({1, 3, 32, 32}, 150.0 / 255);
  const double c1 = 0.01 * 255 * 0.01 * 255;
  CHECK(metrics().make("ssim")->score(a, b, {.luma = false}) == doctest::Approx((2 * 50 * 150 + c1) / (50 * 50 + 150 * 150 + c1)).epsilon(1e-6));
}

TEST_CASE("pictures that are too small or too flat are the user's to mend") {
  CHECK_THROWS_WITH_AS(metrics().make("ssim")->score(at::rand({1, 3, 18, 40}), at::rand({1, 3, 18, 40})), doctest::Contains("40x18"), UserError);
  CHECK_THROWS_WITH_AS(metrics().make("niqe")->score(at::rand({1, 3, 191, 400}), Tensor()), doctest::Contains("192x192"), UserError);
  CHECK_THROWS_WITH_AS(metrics().make("niqe")->score(at::full({1, 3, 200, 200}, 0.5), Tensor()), doctest::Contains("texture"), UserError);
  CHECK_THROWS_AS(metrics().make("psrn"), UserError);
}
