#include "resflow/core/rng.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>

using namespace resflow;

TEST_CASE("philox gives the known answers that its authors publish (Random123, kat_vectors)") {
  using Words = std::array<uint32_t, 4>;
  CHECK(philox({0, 0, 0, 0}, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({~0U, ~0U, ~0U, ~0U}, ~0ULL) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822ULL) == Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a stream's words depend on every part of its name and of the counter") {
  const auto words = Stream(7, "noise", 3).words(5, 2);
  CHECK(Stream(7, "noise", 3).words(5, 2) == words);
  CHECK(Stream(8, "noise", 3).words(5, 2) != words);
  CHECK(Stream(7, "noisf", 3).words(5, 2) != words);
  CHECK(Stream(7, "noise", 4).words(5, 2) != words);
  CHECK(Stream(7, "noise", 3).words(6, 2) != words);
  CHECK(Stream(7, "noise", 3).words(5, 3) != words);
  CHECK(Stream(7, "noise", 3).words(uint64_t{5} << 32, 2) != words);
  CHECK(Stream(7, "noise", 3).child("noise", 3).words(5, 2) != words);
  CHECK(Stream(7, "a").child("b").words(0) != Stream(7, "b").child("a").words(0));
}

TEST_CASE("streams of different purpose are uncorrelated") {
  const auto drawn = [](const Stream& stream) { return normal_like_shape(stream, {40000}); };
  const auto base = drawn(Stream(1, "train"));
  for (const auto& other : {Stream(1, "validate"), Stream(1, "train", 1), Stream(2, "train"), Stream(1, "train").child("train")})
    CHECK(std::abs((base * drawn(other)).mean().item<double>()) < 0.025);  // 5 standard errors
}

TEST_CASE("a window of the noise field is the same part of a larger window, wherever it lies") {
  const Stream stream(11, "restore");
  const auto whole = noise_window(stream, 4, -8, -8, 40, 48);
  CHECK(at::equal(noise_window(stream, 4, 3, 5, 9, 14), whole.slice(2, 11, 20).slice(3, 13, 27)));
  CHECK(at::equal(noise_window(stream, 3, -8, -3, 5, 6), whole.slice(1, 0, 3).slice(2, 0, 5).slice(3, 5, 11)));
  const auto far = noise_window(stream, 1, int64_t{1} << 33, int64_t{1} << 33, 8, 8);
  CHECK_FALSE(at::equal(far, noise_window(stream, 1, 0, 0, 8, 8)));
  CHECK_THROWS_AS(noise_window(stream, 5, 0, 0, 2, 2), c10::Error);
}

TEST_CASE("the noise field is standard normal, without correlation between channels or neighbours") {
  const auto field = noise_window(Stream(3, "noise"), 4, 0, 0, 256, 256).squeeze(0).to(at::kDouble);  // [4, H, W]
  const double error = 1 / 256.0;                                                                     // of a mean
  for (int64_t c = 0; c < 4; ++c) {
    CHECK(std::abs(field[c].mean().item<double>()) < 5 * error);
    CHECK(field[c].square().mean().item<double>() == doctest::Approx(1).epsilon(5 * std::sqrt(2.0) * error));
    CHECK(field[c].pow(4).mean().item<double>() == doctest::Approx(3).epsilon(0.07));  // a normal's, not a uniform's 1.8
    CHECK(std::abs((field[c].slice(0, 1) * field[c].slice(0, 0, 255)).mean().item<double>()) < 5 * error);
    CHECK(std::abs((field[c].slice(1, 1) * field[c].slice(1, 0, 255)).mean().item<double>()) < 5 * error);
    for (int64_t d = 0; d < c; ++d) CHECK(std::abs((field[c] * field[d]).mean().item<double>()) < 5 * error);
  }
  CHECK(field.abs().max().item<double>() > 4);
  CHECK(field.abs().max().item<double>() < 7);
}

TEST_CASE("sequential draws keep their ranges, reach both ends and advance the stream") {
  Stream stream(5, "draws"), again(5, "draws");
  std::array<int, 3> counts{};
  double sum = 0;
  int heads = 0;
  for (int i = 0; i < 6000; ++i) {
    const double u = stream.uniform(2, 4);
    REQUIRE((u >= 2 && u < 4));
    sum += u;
    const int64_t n = stream.integer(-1, 1);
    REQUIRE((n >= -1 && n <= 1));
    ++counts[static_cast<size_t>(n + 1)];
    heads += stream.chance(0.2) ? 1 : 0;
  }
  CHECK(sum / 6000 == doctest::Approx(3).epsilon(0.015));
  for (const int count : counts) CHECK(count == doctest::Approx(2000).epsilon(0.1));
  CHECK(heads == doctest::Approx(1200).epsilon(0.13));
  const auto first = again.bits();
  CHECK(first == Stream(5, "draws").bits());
  CHECK(again.bits() != first);
}

TEST_CASE("pick draws by weight, never what weighs nothing") {
  Stream stream(6, "pick");
  std::array<int, 4> counts{};
  for (int i = 0; i < 8000; ++i) ++counts[stream.pick({1, 0, 2, 5})];
  CHECK(counts[0] == doctest::Approx(1000).epsilon(0.15));
  CHECK(counts[1] == 0);
  CHECK(counts[2] == doctest::Approx(2000).epsilon(0.1));
}
