#include "resflow/models/blocks.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <limits>

#include "models/random_weights.h"
#include "resflow/models/tokens.h"

using namespace resflow;
using namespace resflow::models;

namespace {

constexpr int64_t kRows = 3, kColumns = 4, kCount = kRows * kColumns, kWidth = 32;

struct Root : nn::Module {
  DoubleStreamBlock block{*this, "block", {.width = kWidth, .heads = 2, .mlp_ratio = 2, .condition_rank = 4}};
};

const nn::Rope& rope() {
  static const auto tables = nn::make_rope(image_ids(kRows, kColumns), {4, 6, 6});
  return tables;
}

}  // namespace

TEST_CASE("a block starts as the identity, since its modulation is zero") {
  Root root;
  root.initialise(Stream(1, "weights"));
  const auto x = drawn("x", {2, kCount, kWidth}), temb = drawn("temb", {2, kWidth});
  CHECK(at::equal(root.block.forward(x, temb, rope(), {}, {}), x));
}

TEST_CASE("a mask that hides the condition gives what no condition gives") {
  Root root;
  randomise(root, 1);
  const auto x = drawn("x", {2, kCount, kWidth}), temb = drawn("temb", {2, kWidth});
  KeyValue given;
  root.block.forward_condition(drawn("c", {2, kCount, kWidth}), drawn("temb c", {2, kWidth}), rope(), {}, given);
  auto mask = at::zeros({kCount, 2 * kCount});
  const auto open = root.block.forward(x, temb, rope(), given, mask), none = root.block.forward(x, temb, rope(), {}, {});
  CHECK(distance(open, root.block.forward(x, temb, rope(), given, {})) < 1e-5);
  CHECK(distance(open, none) > 1e-3);
  mask.narrow(1, kCount, kCount).fill_(-std::numeric_limits<float>::infinity());
  CHECK(distance(root.block.forward(x, temb, rope(), given, mask), none) < 1e-5);
}

TEST_CASE("one image's condition serves every candidate of a batch") {
  Root root;
  randomise(root, 1);
  const auto x = drawn("x", {3, kCount, kWidth}), temb = drawn("temb", {3, kWidth}), c = drawn("c", {1, kCount, kWidth}),
             temb_c = drawn("temb c", {1, kWidth});
  KeyValue one, each;
  root.block.forward_condition(c, temb_c, rope(), {}, one);
  root.block.forward_condition(c.expand({3, -1, -1}), temb_c.expand({3, -1}), rope(), {}, each);
  const auto together = root.block.forward(x, temb, rope(), one, {});
  CHECK(distance(together, root.block.forward(x, temb, rope(), each, {})) < 1e-5);
  CHECK(distance(together.narrow(0, 2, 1), root.block.forward(x.narrow(0, 2, 1), temb.narrow(0, 2, 1), rope(), one, {})) < 1e-5);
}

TEST_CASE("latent tokens do not feel the condition's deltas, condition tokens do") {
  Root root;
  randomise(root, 1);
  const auto x = drawn("x", {1, kCount, kWidth}), temb = drawn("temb", {1, kWidth});
  KeyValue given, after;
  const auto latent = root.block.forward(x, temb, rope(), {}, {}), condition = root.block.forward_condition(x, temb, rope(), {}, given);
  CHECK(distance(latent, condition) > 1e-3);
  for (const auto& tensor : root.named_parameters())
    if (tensor.name.ends_with("condition.up")) tensor.slot->zero_();
  CHECK(at::equal(root.block.forward(x, temb, rope(), {}, {}), latent));
  CHECK(distance(root.block.forward_condition(x, temb, rope(), {}, after), latent) < 1e-5);  // then both branches are one
  CHECK(distance(after.key, given.key) > 1e-3);
  CHECK(distance(after.value, given.value) > 1e-3);
}
