#include "resflow/nn/module.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <map>

#include "resflow/nn/conv.h"
#include "resflow/nn/linear.h"
#include "resflow/nn/norm.h"

using namespace resflow;
using namespace resflow::nn;

namespace {

struct Block : Module {
  Block(Module& parent, const std::string& name) : Module(parent, name) {}
  Linear to_q{*this, "attn.to_q", 8, 8, {.condition_rank = 2}};
  RmsNorm norm{*this, "attn.norm_q", 8};
};

struct Root : Module {
  Conv2d conv_in{*this, "conv_in", 3, 8, 3};
  Block first{*this, "blocks.0"}, second{*this, "blocks.1"};
  Linear out{*this, "out", 8, 4, {.bias = false, .zero_init = true}};
};

std::vector<std::string> names(const Module& module) {
  std::vector<std::string> out;
  for (const auto& tensor : module.named_parameters()) out.push_back(tensor.name);
  return out;
}

std::map<std::string, Tensor> values(const Module& module) {
  std::map<std::string, Tensor> out;
  for (const auto& tensor : module.named_parameters()) out[tensor.name] = *tensor.slot;
  return out;
}

}  // namespace

TEST_CASE("parameters are named from the root, in order of declaration") {
  const Root root;
  CHECK(names(root) == std::vector<std::string>{"conv_in.weight", "conv_in.bias", "blocks.0.attn.to_q.weight", "blocks.0.attn.to_q.bias",
                                                "blocks.0.attn.to_q.condition.down", "blocks.0.attn.to_q.condition.up", "blocks.0.attn.norm_q.weight",
                                                "blocks.1.attn.to_q.weight", "blocks.1.attn.to_q.bias", "blocks.1.attn.to_q.condition.down",
                                                "blocks.1.attn.to_q.condition.up", "blocks.1.attn.norm_q.weight", "out.weight"});
  CHECK(root.parameter_count() == 8 * 3 * 9 + 8 + 2 * (64 + 8 + 16 + 16 + 8) + 32);
  CHECK_FALSE(root.out.weight.defined());  // nothing is allocated before it is loaded
}

TEST_CASE("modules are named from the root, parents before their parts") {
  const Root root;
  std::vector<std::string> found;
  for (const auto& [name, module] : root.named_modules()) {
    found.push_back(name);
    if (name == "blocks.1.attn.to_q") CHECK(module == &root.second.to_q);
  }
  CHECK(found == std::vector<std::string>{"conv_in", "blocks.0", "blocks.0.attn.to_q", "blocks.0.attn.norm_q", "blocks.1", "blocks.1.attn.to_q",
                                          "blocks.1.attn.norm_q", "out"});
}

TEST_CASE("initialising is a function of the seed and of each tensor's name, not of what else the model has") {
  Root root, again, other;
  root.initialise(Stream(1, "weights"));
  again.initialise(Stream(1, "weights"));
  other.initialise(Stream(2, "weights"));
  const auto a = values(root), b = values(again), c = values(other);
  for (const auto& [name, value] : a) {
    CAPTURE(name);
    CHECK(at::equal(value, b.at(name)));
  }
  CHECK_FALSE(at::equal(a.at("conv_in.weight"), c.at("conv_in.weight")));
  CHECK_FALSE(at::equal(a.at("blocks.0.attn.to_q.weight"), a.at("blocks.1.attn.to_q.weight")));

  struct Part : Module {
    Linear out{*this, "out", 8, 4};
    Block second{*this, "blocks.1"};
  } part;
  part.initialise(Stream(1, "weights"));
  CHECK(at::equal(part.second.to_q.weight, root.second.to_q.weight));
}

TEST_CASE("initial weights keep the variance of what passes through") {
  struct Wide : Module {
    Linear linear{*this, "linear", 256, 256};
    Conv2d conv{*this, "conv", 32, 32, 3, 2.0};
  } wide;
  wide.initialise(Stream(1, "weights"));
  CHECK(wide.linear.weight.square().mean().item<double>() * 256 == doctest::Approx(1).epsilon(0.03));
  CHECK(wide.conv.weight.square().mean().item<double>() * 32 * 9 == doctest::Approx(4).epsilon(0.05));
  CHECK(wide.linear.bias.abs().max().item<double>() == 0);
}

TEST_CASE("moving and asking for gradients reach every tensor of the tree, adopted modules too") {
  Root root;
  struct Whole : Module {
    explicit Whole(Module& part) { adopt("flow", part); }
  } whole(root);
  whole.initialise(Stream(1, "weights"));
  whole.to(c10::kCPU, c10::kBFloat16);
  whole.requires_grad(true);
  CHECK(names(whole).front() == "flow.conv_in.weight");
  CHECK(whole.parameter_count() == root.parameter_count());
  for (const auto& tensor : root.named_parameters()) {
    CHECK((tensor.slot->scalar_type() == at::kBFloat16));
    CHECK(tensor.slot->requires_grad());
  }
}

TEST_CASE("a module that leaves a declared slot empty or of another shape is found when it is initialised") {
  struct Bad : Module {
    Bad() { declare("weight", weight, {3}); }
    void initialise_own(const Stream&) override { weight = at::zeros({size}); }
    Tensor weight;
    int64_t size = 2;
  } bad;
  CHECK_THROWS_WITH_AS(bad.initialise(Stream(1, "w")), doctest::Contains("weight: not initialised to its shape"), c10::Error);
  bad.size = 3;
  CHECK_NOTHROW(bad.initialise(Stream(1, "w")));
}

TEST_CASE("a convolution keeps the picture's size and adds its bias once") {
  struct Holder : Module {
    Conv2d conv{*this, "conv", 1, 1, 3};
  } holder;
  holder.conv.weight = at::zeros({1, 1, 3, 3});
  holder.conv.weight[0][0][0][2] = 1;  // takes the pixel above to the right
  holder.conv.bias = at::full({1}, 10.0);
  const auto x = at::arange(12, at::kFloat).view({1, 1, 3, 4});
  const auto y = holder.conv.forward(x);
  CHECK(y.sizes() == x.sizes());
  CHECK(y[0][0][1][0].item<double>() == 11);
  CHECK(y[0][0][0][0].item<double>() == 10);  // zeros beyond the edge
}
