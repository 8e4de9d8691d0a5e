// Norms, attention, rotary positions and the timestep embedding: the laws they obey. tests/models compares them with diffusers.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "resflow/nn/attention.h"
#include "resflow/nn/norm.h"
#include "resflow/nn/rope.h"
#include "resflow/nn/timestep.h"

using namespace resflow;
using namespace resflow::nn;

namespace {

Tensor drawn(const char* purpose, at::IntArrayRef shape) { return normal_like_shape(Stream(1, purpose), shape); }

double distance(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

// Scores of tokens at these positions: q and k are the same vectors wherever they stand. [L, L]
Tensor scores_at(const Tensor& ids, const Tensor& q, const Tensor& k) {
  const auto rope = make_rope(ids, {4, 6, 6});
  return at::matmul(apply_rope(q, rope), apply_rope(k, rope).transpose(-1, -2))[0][0];
}

}  // namespace

TEST_CASE("rms norm gives vectors of root mean square 1 times the weight, and does not centre") {
  struct Root : Module {
    RmsNorm norm{*this, "norm", 32};
  } root;
  root.initialise(Stream(1, "weights"));
  const auto x = 30 * drawn("x", {2, 5, 32}) + 100;
  const auto y = root.norm.forward(x);
  CHECK(distance(y.square().mean(-1), at::ones({2, 5})) < 1e-5);
  CHECK(distance(y * x.square().mean(-1, true).sqrt(), x) < 1e-3);
  root.norm.weight = drawn("weight", {32});
  CHECK(distance(root.norm.forward(x), y * root.norm.weight) < 1e-5);
  CHECK(root.norm.forward(at::zeros({1, 32})).abs().max().item<double>() == 0);  // eps: no division by zero
  // In bf16 the mean of squares is taken in float32: the only errors are those of rounding input and output.
  root.norm.weight = at::ones({32}, at::kBFloat16);
  const auto half = x.to(at::kBFloat16);
  CHECK((root.norm.forward(half).scalar_type() == at::kBFloat16));
  CHECK(distance(root.norm.forward(half).to(at::kFloat), (half.to(at::kFloat) / half.to(at::kFloat).square().mean(-1, true).sqrt())) < 0.008);
}

TEST_CASE("the plain layer norm centres and scales each token") {
  const auto y = plain_layer_norm(7 * drawn("x", {2, 5, 64}) + 3);
  CHECK(y.mean(-1).abs().max().item<double>() < 1e-5);
  CHECK(distance(y.square().mean(-1), at::ones({2, 5})) < 1e-4);
}

TEST_CASE("splitting into heads and joining them gives the tokens back, and a head is a run of neighbouring channels") {
  const auto x = drawn("x", {2, 5, 12});
  const auto heads = split_heads(x, 3);
  CHECK(heads.sizes() == at::IntArrayRef({2, 3, 5, 4}));
  CHECK(at::equal(heads.select(1, 1), x.narrow(2, 4, 4)));
  CHECK(at::equal(join_heads(heads), x));
}

TEST_CASE("attention is a softmax-weighted mean of the values, and a mask of -infinity hides a token") {
  const auto q = drawn("q", {1, 2, 3, 8}), k = drawn("k", {1, 2, 4, 8}), v = drawn("v", {1, 2, 4, 8});
  const auto weights = at::softmax(at::matmul(q, k.transpose(-1, -2)) / std::sqrt(8.0), -1);
  CHECK(distance(attention(q, k, v), at::matmul(weights, v)) < 1e-5);
  auto mask = at::zeros({3, 4});
  mask.select(1, 3).fill_(-std::numeric_limits<float>::infinity());
  CHECK(distance(attention(q, k, v, mask), attention(q, k.narrow(2, 0, 3), v.narrow(2, 0, 3))) < 1e-6);
  const auto half = [](const Tensor& t) { return t.to(at::kBFloat16); };
  CHECK(distance(attention(half(q), half(k), half(v), mask).to(at::kFloat), attention(q, k, v, mask)) < 0.05);
}

TEST_CASE("rotated scores depend on differences of positions only, on every axis") {
  const auto q = drawn("q", {1, 1, 6, 16}), k = drawn("k", {1, 1, 6, 16});
  const auto ids = at::tensor({0, 0, 0, 0, 1, 2, 0, 5, 3, 1, 0, 7, 0, 63, 63, 2, 9, 1}, at::kDouble).view({6, 3});
  const auto scores = scores_at(ids, q, k);
  CHECK(distance(scores_at(ids + at::tensor({0, 64, 0}), q, k), scores) < 1e-4);
  CHECK(distance(scores_at(ids + at::tensor({3, 1000, 511}), q, k), scores) < 1e-4);
  CHECK(distance(scores_at(ids * at::tensor({1, 2, 1}), q, k), scores) > 0.1);
  CHECK(distance(scores_at(ids * at::tensor({1, 1, 2}), q, k), scores) > 0.1);
  CHECK(distance(scores_at(ids * at::tensor({2, 1, 1}), q, k), scores) > 0.1);
}

TEST_CASE("rotation keeps lengths and types, is the identity at position 0, and tells positions past 256 apart") {
  const auto x = drawn("x", {2, 3, 4, 16});
  const auto rope = make_rope(at::tensor({0, 0, 0, 0, 256, 0, 0, 257, 0, 0, 258, 0}, at::kDouble).view({4, 3}), {4, 6, 6});
  const auto y = apply_rope(x, rope);
  CHECK(distance(y.square().sum(-1), x.square().sum(-1)) < 1e-4);
  CHECK(at::equal(y.select(2, 0), x.select(2, 0)));
  CHECK((apply_rope(x.to(at::kBFloat16), rope).scalar_type() == at::kBFloat16));
  CHECK(distance(rope.cos[1], rope.cos[2]) > 0.1);
  const auto twice = concatenate(rope, rope);
  CHECK(at::equal(twice.cos, at::cat({rope.cos, rope.cos})));
  CHECK(at::equal(twice.sin, at::cat({rope.sin, rope.sin})));
  CHECK_THROWS_AS(make_rope(at::zeros({4, 2}), {4, 6, 6}), c10::Error);
}

TEST_CASE("the timestep embedding is cosines then sines of falling frequencies") {
  const auto e = timestep_embedding(at::tensor({0.0, 250.0, 1000.0}), 64);
  CHECK(e.sizes() == at::IntArrayRef({3, 64}));
  CHECK(distance(e[0], at::cat({at::ones({32}), at::zeros({32})})) == 0);
  CHECK(e[1][0].item<double>() == doctest::Approx(std::cos(250.0)).epsilon(1e-4));
  CHECK(e[1][32].item<double>() == doctest::Approx(std::sin(250.0)).epsilon(1e-4));
  CHECK(e[2][63].item<double>() == doctest::Approx(std::sin(1000.0 * std::pow(10000.0, -31.0 / 32))).epsilon(1e-4));
  // Float32 throughout: in bf16, 1000 t of neighbouring steps would fall together.
  CHECK((timestep_embedding(at::tensor({1.0}), 64).scalar_type() == at::kFloat));
}

TEST_CASE("the timestep network takes bf16 weights and tells times apart") {
  struct Root : Module {
    TimestepEmbedder embedder{*this, "embedder", 64, 16};
  } root;
  root.initialise(Stream(1, "weights"));
  const auto t = at::tensor({0.0, 500.0, 501.0});
  const auto y = root.embedder.forward(t);
  CHECK(y.sizes() == at::IntArrayRef({3, 16}));
  CHECK(distance(y[1], y[2]) > 1e-3);
  root.to(c10::kCPU, at::kBFloat16);
  CHECK((root.embedder.forward(t).scalar_type() == at::kBFloat16));
  CHECK(distance(root.embedder.forward(t).to(at::kFloat), y) < 0.03);
}
