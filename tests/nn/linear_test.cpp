#include "resflow/nn/linear.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

using namespace resflow;
using namespace resflow::nn;

namespace {

struct Root : Module {
  Linear plain{*this, "plain", 6, 4, {.bias = false}};
  Linear rich{*this, "rich", 6, 4, {.condition_rank = 2}};
};

Tensor drawn(const char* purpose, at::IntArrayRef shape) { return normal_like_shape(Stream(1, purpose), shape); }

}  // namespace

TEST_CASE("a linear is x W^T + b over the last axis, whatever stands before it") {
  Root root;
  root.initialise(Stream(1, "weights"));
  root.rich.bias = drawn("bias", {4});
  const auto x = drawn("x", {2, 3, 6});
  CHECK(at::allclose(root.rich.forward(x), (x.unsqueeze(-2) * root.rich.weight).sum(-1) + root.rich.bias, 1e-5, 1e-6));
  CHECK(at::allclose(root.plain.forward(x), (x.unsqueeze(-2) * root.plain.weight).sum(-1), 1e-5, 1e-6));
}

TEST_CASE("deltas of the condition act on its tokens only, others on every token") {
  Root root;
  root.initialise(Stream(1, "weights"));
  const auto x = drawn("x", {5, 6});
  const auto before = root.rich.forward(x);
  root.rich.condition_up = drawn("up", {4, 2});
  root.rich.loras.push_back({.down = drawn("lora down", {3, 6}), .up = drawn("lora up", {4, 3}), .tokens = LoraTokens::condition});
  CHECK(at::equal(root.rich.forward(x), before));
  CHECK(at::equal(root.rich.forward(x, Branch::main), before));
  const auto condition = root.rich.forward(x, Branch::condition);
  CHECK((condition - before).abs().min().item<double>() > 0);
  const LoraDelta every{.down = drawn("a", {1, 6}), .up = drawn("b", {4, 1}), .bias = drawn("c", {4}), .scale = -0.5};
  root.rich.loras.push_back(every);
  const auto added = -0.5 * (at::matmul(x, at::matmul(every.up, every.down).t()) + every.bias);
  CHECK(at::allclose(root.rich.forward(x), before + added, 1e-4, 1e-5));
  CHECK(at::allclose(root.rich.forward(x, Branch::condition), condition + added, 1e-4, 1e-5));
}

TEST_CASE("an adapter computes in the type of what it is given") {
  Root root;
  root.initialise(Stream(1, "weights"));
  root.to(at::kCPU, at::kBFloat16);
  root.plain.loras.push_back({.down = drawn("a", {3, 6}), .up = drawn("b", {4, 3})});
  CHECK((root.plain.forward(drawn("x", {5, 6}).to(at::kBFloat16)).scalar_type() == at::kBFloat16));
}

TEST_CASE("the native delta and every attached LoRA add up, each by its own scale") {
  Root root;
  root.initialise(Stream(1, "weights"));
  root.rich.condition_up = drawn("up", {4, 2});
  const LoraDelta first{.down = drawn("a", {3, 6}), .up = drawn("b", {4, 3}), .scale = 0.5},
      second{.down = drawn("c", {1, 6}), .up = drawn("d", {4, 1}), .scale = -2};
  root.rich.loras = {first, second};
  const auto x = drawn("x", {5, 6});
  const auto merged = root.rich.weight + at::matmul(root.rich.condition_up, root.rich.condition_down) + 0.5 * at::matmul(first.up, first.down) -
                      2 * at::matmul(second.up, second.down);
  CHECK(at::allclose(root.rich.forward(x, Branch::condition), at::linear(x, merged, root.rich.bias), 1e-4, 1e-5));
  root.plain.loras = {second};
  CHECK(
      at::allclose(root.plain.forward(x, Branch::condition), at::linear(x, root.plain.weight - 2 * at::matmul(second.up, second.down)), 1e-4, 1e-5));
}

TEST_CASE("a native delta changes nothing before it is trained, and its two halves get gradients one after the other") {
  Root root;
  root.initialise(Stream(1, "weights"));
  const auto x = drawn("x", {5, 6});
  CHECK(at::equal(root.rich.forward(x, Branch::condition), root.rich.forward(x)));
  CHECK(root.rich.condition_down.abs().max().item<double>() > 0);  // both zero would never train
}

TEST_CASE("a linear with another weight says so") {
  Root root;
  root.initialise(Stream(1, "weights"));
  const Tensor wide = drawn("wide", {4, 9});
  root.plain.replace_weight(wide);
  CHECK(root.plain.in() == 9);
  CHECK(root.named_parameters().front().shape[1] == 9);
  CHECK(root.plain.forward(drawn("x", {2, 9})).size(1) == 4);
}
