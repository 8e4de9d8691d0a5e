#include "resflow/degradation/degradation.h"

#include <ATen/Parallel.h>
#include <doctest/doctest.h>

#include <map>
#include <numbers>

#include "resflow/degradation/filter.h"
#include "resflow/degradation/jpeg.h"
#include "resflow/degradation/noise.h"

using namespace resflow;
using namespace resflow::degradation;

namespace {

// Smooth shapes, an edge and some texture in three different channels.
Tensor test_image(int64_t height, int64_t width) {
  Tensor image = at::empty({3, height, width});
  auto a = image.accessor<float, 3>();
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) {
        const double wave =
            .5 + .25 * std::sin(.11 * static_cast<double>(x + 7 * c)) + .15 * std::cos(.07 * static_cast<double>(y) + static_cast<double>(c));
        a[c][y][x] = static_cast<float>(std::clamp(wave + (x > y ? .2 : -.1) + .05 * static_cast<double>((3 * x + 5 * y + c) % 4), 0.0, 1.0));
      }
  return image;
}

Planes planes_of(const Tensor& image) {
  Planes planes(image.size(1), image.size(2));
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t y = 0; y < planes.height(); ++y)
      for (int64_t x = 0; x < planes.width(); ++x) planes.row(c, y)[x] = image[c][y][x].item<float>();
  return planes;
}

Planes flat(int64_t height, int64_t width, float value) {
  Planes planes(height, width);
  std::fill(planes.begin(), planes.end(), value);
  return planes;
}

struct Moments {
  double mean = 0, variance = 0, red_green_correlation = 0;
};
Moments moments_about(const Planes& planes, double value) {
  Moments m;
  const double count = static_cast<double>(planes.height() * planes.width());
  double cross = 0;
  for (int64_t y = 0; y < planes.height(); ++y)
    for (int64_t x = 0; x < planes.width(); ++x) {
      const double r = planes.row(0, y)[x] - value, g = planes.row(1, y)[x] - value;
      m.mean += r / count;
      m.variance += r * r / count;
      cross += r * g / count;
    }
  m.red_green_correlation = cross / m.variance;
  return m;
}

double rmse(const Planes& a, const Planes& b) {
  double sum = 0;
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t y = 0; y < a.height(); ++y)
      for (int64_t x = 0; x < a.width(); ++x) sum += std::pow(a.row(c, y)[x] - b.row(c, y)[x], 2);
  return std::sqrt(sum / static_cast<double>(3 * a.height() * a.width()));
}

}  // namespace

TEST_CASE("every recipe gives a picture of the right size, in 0..1, of 8-bit values") {
  const Tensor image = test_image(48, 96);
  for (const auto& name : recipe_names())
    for (const int scale : {1, 2, 3, 4, 8})
      for (uint64_t index = 0; index < 6; ++index) {
        CAPTURE(name);
        CAPTURE(scale);
        const Tensor poor = degrade(image, recipe(name), scale, Stream(5, "size", index));
        CHECK(poor.sizes() == at::IntArrayRef({3, 48 / scale, 96 / scale}));
        CHECK(poor.is_contiguous());
        CHECK(poor.min().item<float>() >= 0);
        CHECK(poor.max().item<float>() <= 1);
        CHECK(at::equal(poor, at::round(poor * 255) / 255));
      }
}

TEST_CASE("the same stream gives the same pixels with any number of threads, another stream others") {
  const Tensor image = test_image(64, 64);
  for (const auto& name : recipe_names()) {
    const Tensor once = degrade(image, recipe(name), 2, Stream(1, "same"));
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    const Tensor again = degrade(image, recipe(name), 2, Stream(1, "same"));
    at::set_num_threads(threads);
    CHECK(at::equal(once, again));
    CHECK_FALSE(at::equal(once, degrade(image, recipe(name), 2, Stream(2, "same"))));
  }
}

TEST_CASE("the picture given is left as it was") {
  const Tensor image = test_image(32, 32), copy = image.clone();
  degrade(image, recipe("real-esrgan"), 1, Stream(1, "copy"));
  CHECK(at::equal(image, copy));
}

TEST_CASE("tiny, narrow and non-square pictures work") {
  for (const auto& [height, width] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {1, 40}, {40, 1}, {2, 3}, {5, 90}, {33, 7}})
    for (uint64_t index = 0; index < 12; ++index)
      CHECK(degrade(test_image(height, width), recipe("real-esrgan"), 1, Stream(9, "tiny", index)).sizes() == at::IntArrayRef({3, height, width}));
  CHECK(degrade(test_image(4, 8), recipe("real-esrgan"), 4, Stream(9, "tiny")).sizes() == at::IntArrayRef({3, 1, 2}));
}

TEST_CASE("a picture that does not fit the contract is refused") {
  const Stream stream(1, "bad");
  const Recipe& r = recipe("see-sr");
  CHECK_THROWS_AS(degrade(test_image(10, 8), r, 4, stream), c10::Error);
  CHECK_THROWS_AS(degrade(test_image(8, 8), r, 0, stream), c10::Error);
  CHECK_THROWS_AS(degrade(test_image(18, 18), r, 9, stream), c10::Error);
  CHECK_THROWS_AS(degrade(test_image(8, 8).to(at::kDouble), r, 1, stream), c10::Error);
  CHECK_THROWS_AS(degrade(test_image(8, 6).transpose(1, 2), r, 1, stream), c10::Error);
  CHECK_THROWS_AS(degrade(test_image(8, 8)[0], r, 1, stream), c10::Error);
}

TEST_CASE("an unknown recipe is named with those that exist") {
  CHECK(recipe_names() == std::vector<std::string>{"real-esrgan", "see-sr"});
  CHECK_THROWS_WITH_AS(recipe("real_esrgan"), "unknown recipe 'real_esrgan': wanted one of real-esrgan, see-sr. Did you mean 'real-esrgan'?",
                       UserError);
}

TEST_CASE("a recipe goes through JSON unchanged, and an upside-down interval is refused") {
  Recipe copy;
  fields_from_json(copy, fields_to_json(recipe("see-sr")));
  CHECK(fields_to_json(copy) == fields_to_json(recipe("see-sr")));
  copy.second.jpeg_quality = {80, 60};
  CHECK_THROWS_AS(draw_plan(copy, Stream(1, "plan")), UserError);
  copy = recipe("see-sr");
  copy.first.jpeg_quality = {0, 60};
  CHECK_THROWS_AS(draw_plan(copy, Stream(1, "plan")), UserError);
}

TEST_CASE("the published numbers of both recipes") {
  const Recipe &strong = recipe("real-esrgan"), &mild = recipe("see-sr");
  const auto same = [](const Interval& i, double low, double high) { return i.low == low && i.high == high; };
  CHECK((same(strong.first.resize_range, .15, 1.5) && same(mild.first.resize_range, .3, 1.5)));
  CHECK((same(strong.second.resize_range, .3, 1.2) && same(mild.second.resize_range, .6, 1.2)));
  CHECK((same(strong.first.gaussian_sigma, 1, 30) && same(mild.first.gaussian_sigma, 1, 15)));
  CHECK((same(strong.second.gaussian_sigma, 1, 25) && same(mild.second.gaussian_sigma, 1, 12)));
  CHECK((same(strong.first.poisson_scale, .05, 3) && same(mild.first.poisson_scale, .05, 2)));
  CHECK((same(strong.second.poisson_scale, .05, 2.5) && same(mild.second.poisson_scale, .05, 1)));
  CHECK((same(strong.first.jpeg_quality, 30, 95) && same(mild.first.jpeg_quality, 60, 95)));
  CHECK((same(strong.second.jpeg_quality, 30, 95) && same(mild.second.jpeg_quality, 60, 100)));
  CHECK((strong.second.blur_probability == .8 && mild.second.blur_probability == .5));
}

TEST_CASE("over many draws the choices come as often as the recipe says, and stay in its ranges") {
  constexpr int kDraws = 4000;
  for (const auto& [name, help, r] : recipes()) {
    std::map<KernelKind, double> first, second;
    std::map<Interpolation, double> modes;
    double up = 0, down = 0, up2 = 0, down2 = 0, poisson = 0, grey = 0, sinc = 0, last = 0, low_beta = 0, generalised = 0, quality = 0;
    for (int i = 0; i < kDraws; ++i) {
      const Plan plan = draw_plan(r, Stream(11, "statistics", static_cast<uint64_t>(i)));
      constexpr double share = 1.0 / kDraws;
      const auto &one = plan.first, &two = plan.second;
      first[one.blur.kind] += share;
      second[two.blur.kind] += share;
      modes[one.resize_mode] += share;
      up += share * (one.resize_factor > 1), down += share * (one.resize_factor < 1);
      up2 += share * (two.resize_factor > 1), down2 += share * (two.resize_factor < 1);
      poisson += share * one.noise.poisson, grey += share * two.noise.grey;
      sinc += share * (plan.final_sinc.kind == KernelKind::sinc), last += share * plan.jpeg_last;
      quality += share * one.jpeg_quality;
      if (one.blur.kind == KernelKind::generalised_isotropic || one.blur.kind == KernelKind::generalised_anisotropic) {
        ++generalised;
        low_beta += one.blur.beta < 1;
        REQUIRE((one.blur.beta >= .5 && one.blur.beta <= 4));
      }
      REQUIRE((one.blur.size >= 7 && one.blur.size <= 21 && one.blur.size % 2 == 1));
      REQUIRE((one.jpeg_quality >= r.first.jpeg_quality.low && one.jpeg_quality <= r.first.jpeg_quality.high));
      REQUIRE((one.resize_factor >= r.first.resize_range.low && one.resize_factor <= r.first.resize_range.high));
      if (one.blur.kind == KernelKind::sinc) {
        REQUIRE((one.blur.cutoff >= std::numbers::pi / (one.blur.size < 13 ? 3 : 5) && one.blur.cutoff <= std::numbers::pi));
      } else {
        REQUIRE((one.blur.sigma_x >= .2 && one.blur.sigma_x <= 3));
      }
    }
    const auto near = [](double got, double wanted) { return std::abs(got - wanted) < 4.5 * std::sqrt(wanted * (1 - wanted) / kDraws) + 1e-9; };
    CAPTURE(name);
    CHECK(near(first[KernelKind::sinc], .1));
    CHECK(near(first[KernelKind::isotropic], .9 * .45));
    CHECK(near(first[KernelKind::anisotropic], .9 * .25));
    CHECK(near(first[KernelKind::generalised_isotropic], .9 * .12));
    CHECK(near(first[KernelKind::generalised_anisotropic], .9 * .03));
    CHECK(near(first[KernelKind::plateau_isotropic], .9 * .12));
    CHECK(near(first[KernelKind::plateau_anisotropic], .9 * .03));
    CHECK(near(second[KernelKind::none], 1 - r.second.blur_probability));
    for (const auto mode : {Interpolation::area, Interpolation::bilinear, Interpolation::bicubic}) CHECK(near(modes[mode], 1. / 3));
    CHECK((near(up, .2) && near(down, .7) && near(up2, .3) && near(down2, .4)));
    CHECK((near(poisson, .5) && near(grey, .4) && near(sinc, .8) && near(last, .5)));
    CHECK(low_beta / generalised == doctest::Approx(.5).epsilon(.15));
    CHECK(quality == doctest::Approx((r.first.jpeg_quality.low + r.first.jpeg_quality.high) / 2).epsilon(.03));
  }
}

TEST_CASE("every kernel sums to one and is centred, so that no kernel dims or shifts a picture") {
  for (int kind = 0; kind <= static_cast<int>(KernelKind::none); ++kind)
    for (const int size : {7, 13, 21}) {
      const Kernel kernel =
          make_kernel({.kind = static_cast<KernelKind>(kind), .size = size, .sigma_x = 2.4, .sigma_y = .9, .angle = .6, .beta = 1.4, .cutoff = 1.3});
      double sum = 0, at_x = 0, at_y = 0;
      for (int i = 0; i < kernel.size * kernel.size; ++i) {
        const double w = kernel.weights[static_cast<size_t>(i)];
        sum += w;
        at_x += w * (i % kernel.size - kernel.size / 2);
        at_y += w * (i / kernel.size - kernel.size / 2);
      }
      CAPTURE(kind);
      CHECK(sum == doctest::Approx(1).epsilon(1e-5));
      CHECK(std::abs(at_x) < 1e-5);
      CHECK(std::abs(at_y) < 1e-5);
    }
}

TEST_CASE("a filtered spot keeps its centre and its mass, whether the kernel is separable or not") {
  for (const auto kind : {KernelKind::isotropic, KernelKind::anisotropic, KernelKind::sinc}) {
    Planes spot(61, 83);
    spot.row(1, 30)[41] = 1;
    filter(spot, make_kernel({.kind = kind, .size = 15, .sigma_x = 2, .sigma_y = 1, .angle = 1, .cutoff = 1.5}));
    double sum = 0, at_x = 0, at_y = 0;
    for (int64_t y = 0; y < 61; ++y)
      for (int64_t x = 0; x < 83; ++x) {
        const double w = spot.row(1, y)[x];
        sum += w, at_x += w * static_cast<double>(x), at_y += w * static_cast<double>(y);
      }
    CHECK(sum == doctest::Approx(1).epsilon(1e-5));
    CHECK(at_x == doctest::Approx(41).epsilon(1e-5));
    CHECK(at_y == doctest::Approx(30).epsilon(1e-5));
    CHECK(spot.row(0, 30)[41] == 0);
  }
}

TEST_CASE("borders mirror about the last pixel, however far outside") {
  CHECK(reflect(-1, 5) == 1);
  CHECK(reflect(5, 5) == 3);
  CHECK(reflect(-4, 5) == 4);
  CHECK(reflect(-5, 5) == 3);
  CHECK(reflect(9, 5) == 1);
  CHECK(reflect(-3, 1) == 0);
  CHECK(reflect(-3, 2) == 1);
}

TEST_CASE("a flat picture without noise stays flat") {
  const Tensor grey = at::full({3, 64, 48}, 128 / 255.);
  Plan plan;
  plan.first.blur = {.kind = KernelKind::plateau_anisotropic, .size = 21, .sigma_x = 2, .sigma_y = 1, .angle = .4, .beta = 1.5};
  plan.first.resize_factor = .37;
  plan.first.resize_mode = Interpolation::bicubic;
  plan.second.resize_factor = 1.19;
  plan.final_sinc = {.kind = KernelKind::sinc, .size = 9, .cutoff = 2};
  for (const bool jpeg_last : {false, true}) {
    plan.jpeg_last = jpeg_last;
    plan.first.jpeg_quality = plan.second.jpeg_quality = 40;
    const Tensor out = apply_plan(grey, plan, 2, Stream(1, "flat"));
    CHECK(at::abs(out - 128 / 255.).max().item<double>() < 2.5 / 255);
  }
}

TEST_CASE("a plan without effects gives the picture back") {
  const Tensor grey = at::round(test_image(32, 40).mean(0, true).expand({3, 32, 40}) * 255).div(255).contiguous();
  Plan plan;  // no blur, factor 1, sigma 0, quality 100
  CHECK(at::abs(apply_plan(grey, plan, 1, Stream(1, "none")) - grey).max().item<double>() < 3.5 / 255);
}

TEST_CASE("Gaussian noise has its variance, and is the same in all channels only where it is grey") {
  for (const bool grey : {false, true}) {
    Planes planes = flat(200, 200, .5f);
    add_gaussian_noise(planes, 20, grey, Stream(3, "noise"));
    const Moments m = moments_about(planes, .5);
    CHECK(std::abs(m.mean) < 4.5 * 20 / 255. / 200);
    CHECK(m.variance == doctest::Approx(std::pow(20 / 255., 2)).epsilon(.04));
    if (grey) CHECK(m.red_green_correlation == doctest::Approx(1).epsilon(1e-4));
    if (!grey) CHECK(std::abs(m.red_green_correlation) < .03);
  }
}

TEST_CASE("Poisson noise has the variance of its photon count at every brightness") {
  for (const bool grey : {false, true})
    for (const int level : {40, 128, 200}) {
      // 256 grey levels, each once, so that white is 256 photons; the rest of the picture is flat.
      Planes planes = flat(202, 256, static_cast<float>(level) / 255);
      for (int64_t c = 0; c < 3; ++c)
        for (int64_t x = 0; x < 256; ++x) planes.row(c, 0)[x] = static_cast<float>(x) / 255;
      add_poisson_noise(planes, .5, grey, Stream(4, "noise"));
      Planes rest(201, 256);
      for (int64_t c = 0; c < 3; ++c)
        for (int64_t y = 0; y < 201; ++y) std::copy_n(planes.row(c, y + 1), 256, rest.row(c, y));
      const Moments m = moments_about(rest, level / 255.);
      const double variance = .25 * level / 255. / 256;
      CAPTURE(level);
      CHECK(std::abs(m.mean) < 5 * std::sqrt(variance / (201 * 256)));
      CHECK(m.variance == doctest::Approx(variance).epsilon(.04));
      if (grey) CHECK(m.red_green_correlation == doctest::Approx(1).epsilon(1e-4));
      if (!grey) CHECK(std::abs(m.red_green_correlation) < .03);
    }
}

TEST_CASE("black stays black under Poisson noise, and few levels mean few photons") {
  Planes black = flat(16, 16, 0);
  add_poisson_noise(black, 3, false, Stream(1, "black"));
  CHECK(moments_about(black, 0).variance == 0);
  Planes white = flat(200, 200, 1);  // one level: one photon, so a pixel is 0, 1 or clamped to 1
  add_poisson_noise(white, 1, false, Stream(1, "white"));
  double dark = 0;
  for (int64_t y = 0; y < 200; ++y)
    for (int64_t x = 0; x < 200; ++x) dark += white.row(0, y)[x] == 0;
  CHECK(dark / 40000 == doctest::Approx(std::exp(-1.0)).epsilon(.04));
}

TEST_CASE("the lower the JPEG quality, the larger the error") {
  const Planes image = planes_of(test_image(64, 80));
  double before = 0;
  for (const int quality : {95, 80, 60, 40, 20, 5}) {
    Planes copy = planes_of(test_image(64, 80));
    jpeg_round_trip(copy, quality);
    const double error = rmse(image, copy);
    CHECK(error > before);
    before = error;
  }
  CHECK(before > .03);
}

TEST_CASE("a low quality leaves the steps of 8x8 blocks") {
  Planes image = planes_of(test_image(64, 64));
  jpeg_round_trip(image, 5);
  double across = 0, within = 0;
  for (int64_t y = 0; y < 64; ++y)
    for (int64_t x = 1; x < 64; ++x) (x % 8 == 0 ? across : within) += std::abs(image.row(1, y)[x] - image.row(1, y)[x - 1]) / (x % 8 == 0 ? 7 : 56);
  CHECK(across > 2 * within);
}
