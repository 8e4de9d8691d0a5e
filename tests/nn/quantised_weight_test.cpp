#include "resflow/nn/quantised_weight.h"

#include <ATen/ATen.h>
#include <c10/util/Half.h>
#include <doctest/doctest.h>

#include <cstring>
#include <map>
#include <vector>

#include "resflow/core/rng.h"
#include "resflow/nn/embedding.h"
#include "resflow/nn/ggml_quantise.h"
#include "resflow/nn/ggml_unpack.h"
#include "resflow/nn/linear.h"

namespace resflow::nn {
namespace {

// Blocks of every bit at random, but for their float16 scales.
Tensor random_blocks(const QuantFormat& format, int64_t rows, int64_t blocks) {
  const std::map<uint32_t, std::vector<int64_t>> scales = {{2, {0}},       {3, {0, 2}}, {6, {0}},     {7, {0, 2}},  {8, {0}},
                                                           {10, {80, 82}}, {11, {108}}, {12, {0, 2}}, {13, {0, 2}}, {14, {208}}};
  const Stream stream(format.code, "blocks");
  const Tensor bits = normal_like_shape(stream, {rows * blocks, format.bytes}).mul(1e4).to(at::kLong).bitwise_and(255).to(at::kByte);
  const Tensor halves = normal_like_shape(stream.child("scales"), {rows * blocks, 2}).mul(0.1).to(at::kHalf).view(at::kByte);
  for (const int64_t at : scales.at(format.code)) bits.narrow(1, at, 2).copy_(halves.narrow(1, at % 4, 2));
  return bits.view({rows, blocks * format.bytes});
}

struct Root : Module {};

}  // namespace

TEST_CASE("blocks unpack with tensor operations as they do with loops, in every format") {
  for (const uint32_t code : {2, 3, 6, 7, 8, 10, 11, 12, 13, 14}) {
    const QuantFormat& format = *quant_format(code);
    CAPTURE(std::string(format.name));
    const Tensor stored = random_blocks(format, 5, 7);
    const Tensor wanted = at::empty({5, 7 * format.block});
    dequantise(format, stored.data_ptr<uint8_t>(), 35, wanted.data_ptr<float>());
    CHECK(wanted.std().item<double>() > 0.1);
    CHECK(at::allclose(unpack_on_device(format, stored), wanted, 1e-5, 1e-5));
  }
}

TEST_CASE("a linear map with a quantised weight computes what its dequantised weight would, in its own type") {
  Root root;
  Linear linear(root, "linear", 64, 5);
  root.initialise(Stream(1, "weights"));
  const Tensor x = normal_like_shape(Stream(2, "x"), {3, 64});
  const auto* format = writable_quant_format("Q8_0");
  const Tensor stored = quantise(*format, linear.weight), whole = linear.forward(x);
  linear.quantised = {.stored = stored, .format = format};
  linear.weight = Tensor();
  CHECK((linear.dtype() == at::kFloat));
  const Tensor dense = linear.dense_weight();
  CHECK(at::equal(linear.forward(x), at::linear(x, dense, linear.bias)));
  const double error = (linear.forward(x) - whole).abs().max().item<double>();
  CHECK(error > 0);
  CHECK(error < 0.01);
  root.to(c10::kCPU, at::kBFloat16);
  CHECK((linear.dtype() == at::kBFloat16));
  CHECK((linear.forward(x.to(at::kBFloat16)).scalar_type() == at::kBFloat16));
  CHECK((linear.quantised.stored.scalar_type() == at::kByte));
}

TEST_CASE("float8 takes its scale, one or one a row, in rows that are looked up too") {
  Root root;
  Embedding table(root, "table", 6, 4);
  const Tensor numbers = normal_like_shape(Stream(3, "numbers"), {6, 4}).to(at::kFloat8_e4m3fn);
  for (const Tensor& scale : {Tensor(), at::full({1}, 0.5), at::arange(1.0, 7.0).view({6, 1}).to(at::kFloat)}) {
    table.quantised = {.stored = numbers, .scale = scale};
    const Tensor wanted = scale.defined() ? numbers.to(at::kFloat) * scale : numbers.to(at::kFloat);
    CHECK(at::equal(table.quantised.dequantise(), wanted));
    const Tensor ids = at::tensor({5, 0, 0, 3}, at::kLong).view({2, 2});
    CHECK(at::equal(table.forward(ids), wanted.index_select(0, ids.flatten()).view({2, 2, 4})));
  }
}

TEST_CASE("what ggml's blocks lose is within half a step, and zeros stay zeros") {
  const Tensor x = at::cat({normal_like_shape(Stream(4, "x"), {3, 256}), at::zeros({1, 256}), at::full({1, 256}, -2.5)});
  for (const auto& [name, most] : std::map<std::string, double>{{"Q8_0", 0.5 / 127}, {"Q4_0", 1.0 / 8}, {"Q4_K", 1.0 / 8}}) {
    CAPTURE(name);
    const auto* format = writable_quant_format(name);
    const Tensor back = QuantisedWeight{.stored = quantise(*format, x), .format = format}.dequantise();
    const Tensor largest = x.abs().amax(1, true);
    CHECK((back - x).abs().sub(most * 1.01 * largest + 1e-6).max().item<double>() <= 0);
    CHECK(back[3].abs().max().item<double>() == 0);
  }
}

}  // namespace resflow::nn
