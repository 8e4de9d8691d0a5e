#include "resflow/nn/layer_stream.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <doctest/doctest.h>

#include "resflow/nn/linear.h"

using namespace resflow;

namespace {

constexpr int64_t kWidth = 24;

// Layers of several sizes, types and forms, so that each lies elsewhere in the buffers.
struct Layers : nn::Module {
  nn::Linear a{*this, "a", kWidth, kWidth}, b{*this, "b", kWidth, 3 * kWidth}, c{*this, "c", 3 * kWidth, kWidth, {.bias = false}};
  Layers() {
    initialise(Stream(1, "test"));
    b.quantised = {.stored = b.weight.to(at::kBFloat16), .scale = at::full({3 * kWidth, 1}, 0.5)};
    b.weight = Tensor();
    c.quantised = {.stored = c.weight.to(at::kHalf)};
    c.weight = Tensor();
  }
  std::vector<nn::Module*> all() { return {&a, &b, &c}; }
  Tensor forward(Tensor x, nn::LayerStream* stream) const {
    size_t i = 0;
    for (const nn::Linear* layer : {&a, &b, &c}) {
      const nn::LayerTurn here(stream, i++);
      x = layer->forward(x);
    }
    return x;
  }
};

}  // namespace

TEST_CASE("layers that come in turns compute what layers that stay do") {
  const c10::InferenceMode inference;
  Layers layers;
  const Tensor x = normal_like_shape(Stream(2, "x"), {2, kWidth}), wanted = layers.forward(x, nullptr);
  const void* home = layers.a.weight.data_ptr();
  for (const bool copies : {false, true}) {
    nn::LayerStream stream(layers.all(), c10::Device(c10::kCPU), copies);
    for (int round = 0; round < 4; ++round) CHECK(at::equal(layers.forward(x, &stream), wanted));
    CHECK(layers.a.weight.data_ptr() == home);
    CHECK(stream.buffer_bytes() == (copies ? nn::layer_buffer_bytes(layers.all()) : 0));
  }
  CHECK(at::equal(layers.forward(x, nullptr), wanted));
}

TEST_CASE("a layer is in the buffers in its turn alone") {
  const c10::InferenceMode inference;
  Layers layers;
  nn::LayerStream stream(layers.all(), c10::Device(c10::kCPU), true);
  const void* home = layers.b.quantised.stored.data_ptr();
  stream.enter(0);
  CHECK(layers.b.quantised.stored.data_ptr() == home);
  stream.leave(0);
  stream.enter(1);
  CHECK(layers.b.quantised.stored.data_ptr() != home);
  CHECK(at::equal(layers.b.quantised.scale, at::full({3 * kWidth, 1}, 0.5)));
  stream.leave(1);
  CHECK(layers.b.quantised.stored.data_ptr() == home);
}

TEST_CASE("a round that was broken off does no harm to the next") {
  const c10::InferenceMode inference;
  Layers layers;
  const Tensor x = normal_like_shape(Stream(2, "x"), {2, kWidth}), wanted = layers.forward(x, nullptr);
  nn::LayerStream stream(layers.all(), c10::Device(c10::kCPU), true);
  stream.enter(0);
  stream.leave(0);
  CHECK(at::equal(layers.forward(x, &stream), wanted));
}
