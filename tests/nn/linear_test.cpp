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

TEST_CASE("deltas act on the condition's tokens only") {
  Root root;
  root.initialise(Stream(1, "weights"));
  const auto x = drawn("x", {5, 6});
  const auto before = root.rich.forward(x);
  root.rich.condition_up = drawn("up", {4, 2});
  root.rich.loras.push_back({.down = drawn("lora down", {3, 6}), .up = drawn("lora up", {4, 3})});
  CHECK(at::equal(root.rich.forward(x), before));
  CHECK(at::equal(root.rich.forward(x, Branch::main), before));
  CHECK((root.rich.forward(x, Branch::condition) - before).abs().min().item<double>() > 0);
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
