#include "resflow/nn/allocation_meter.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <doctest/doctest.h>

#include "resflow/nn/attention.h"
#include "resflow/nn/conv.h"
#include "resflow/nn/embedding.h"
#include "resflow/nn/group_norm.h"
#include "resflow/nn/layer_norm.h"
#include "resflow/nn/linear.h"

using namespace resflow;

namespace {

struct Network : nn::Module {
  nn::Embedding table{*this, "table", 10, 32};
  nn::Linear linear{*this, "linear", 32, 64};
  nn::LayerNorm norm{*this, "norm", 64};
  nn::Conv2d conv{*this, "conv", 4, 8, 3, {.stride = 2}};
  nn::GroupNorm groups{*this, "groups", 2, 8};
  Tensor forward(const Tensor& numbers) const {
    const Tensor x = norm.forward(linear.forward(table.forward(numbers)));  // [B, 16, 64]
    const Tensor heads = nn::split_heads(x, 4);
    const Tensor mixed = nn::join_heads(nn::attention(heads, heads, heads));
    return groups.forward(conv.forward(mixed.unflatten(1, {4, 4})));
  }
};

}  // namespace

TEST_CASE("a network on the meta device gives the shapes that it gives with numbers") {
  c10::InferenceMode inference;
  Network network;
  network.initialise(Stream(1, "test"));
  const Tensor numbers = at::arange(10).repeat({2, 2}).narrow(1, 0, 16);
  const Tensor real = network.forward(numbers);
  const nn::AllocationMeter meter(c10::kCPU);
  network.to(c10::kMeta, at::kFloat);
  const Tensor found = network.forward(numbers.to(at::kMeta));
  CHECK(found.sizes() == real.sizes());
  CHECK(found.is_meta());
}

TEST_CASE("allocations are counted, their peak kept, and forgotten when they end") {
  c10::InferenceMode inference;
  nn::AllocationMeter meter(c10::kCPU);
  const int64_t before = meter.live();
  {
    const Tensor x = at::empty({1000, 1000}, at::TensorOptions().dtype(at::kFloat).device(at::kMeta));
    CHECK(meter.live() - before == 4000000);
    const Tensor y = x.view({1000000});  // shares
    CHECK(meter.live() - before == 4000000);
    CHECK((x + 1).to(at::kBFloat16).numel() == 1000000);
    CHECK(meter.live() - before == 4000000);
    CHECK(meter.peak() - before == 10000000);
  }
  CHECK(meter.live() == before);
  meter.restart();
  CHECK(meter.peak() == before);
}

TEST_CASE("a quantised weight is counted as it is widened on the device that is meant") {
  c10::InferenceMode inference;
  nn::QuantisedWeight weight{.stored = at::empty({256, 1024 / 32 * 18}, at::TensorOptions().dtype(at::kByte).device(at::kMeta)),
                             .format = nn::quant_format(2)};
  const auto peak = [&](c10::DeviceType device) {
    nn::AllocationMeter meter(device);
    const int64_t before = meter.live();
    CHECK(weight.dequantise().sizes() == at::IntArrayRef({256, 1024}));
    return meter.peak() - before;
  };
  CHECK(peak(c10::kCPU) == 256 * 1024 * 4);
  CHECK(peak(c10::kCUDA) > 256 * 1024 * 8);  // in steps of whole tensors
}
