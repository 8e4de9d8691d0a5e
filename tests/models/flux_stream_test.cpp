// Blocks whose weights come to a device in turns. What moves anything needs a GPU; on a CPU the weights are read ahead alone.
#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/InferenceMode.h>
#include <doctest/doctest.h>

#include "models/random_weights.h"
#include "resflow/models/flux/transformer.h"
#include "resflow/models/tokens.h"

using namespace resflow;
using namespace resflow::models;

namespace {

FluxConfig config() {
  FluxConfig out;
  out.num_layers = 3;
  out.num_single_layers = 4;
  out.attention_head_dim = 32;
  out.num_attention_heads = 4;
  out.axes_dims_rope = {8, 12, 12};
  out.in_channels = 16;
  out.joint_attention_dim = 48;
  out.pooled_projection_dim = 24;
  out.guidance_embeds = true;
  return out;
}

FluxInput input(c10::Device device) {
  FluxInput out;
  out.hidden_states = drawn("z", {1, 12, 16}).to(device);
  out.encoder_hidden_states = drawn("text", {1, 5, 48}).to(device);
  out.pooled = drawn("pooled", {1, 24}).to(device);
  out.timestep = at::full({1}, 0.5).to(device);
  out.guidance = at::full({1}, 3.5).to(device);
  out.img_ids = image_ids(3, 4).to(device);
  out.txt_ids = at::zeros({5, 3}).to(device);
  return out;
}

// Some weights as a file may have them: narrower, and with a scale.
void store(FluxTransformer& model) {
  int64_t count = 0;
  for (const auto& parameter : model.named_parameters()) {
    if (parameter.quantised == nullptr || ++count % 3 == 0) continue;
    *parameter.quantised = {.stored = parameter.slot->to(at::kBFloat16), .scale = count % 3 == 1 ? at::full({1}, 0.5) : Tensor()};
    *parameter.slot = Tensor();
  }
}

}  // namespace

TEST_CASE("blocks that come in turns compute what blocks that stay do, again and again") {
  const c10::InferenceMode inference;
  for (const auto type : {c10::kCPU, c10::kCUDA}) {
    if (type == c10::kCUDA && !at::hasCUDA()) continue;
    const c10::Device device(type);
    FluxTransformer model(config());
    randomise(model, 1);
    store(model);
    FluxTransformer whole(config());
    randomise(whole, 1);
    store(whole);
    whole.to(device, at::kFloat);
    model.stream_blocks(device);
    const auto in = input(device);
    const Tensor wanted = whole.forward(in);
    for (int i = 0; i < 4; ++i) CHECK(at::equal(model.forward(in), wanted));
    for (const auto& parameter : model.named_parameters())
      if (parameter.name.find("transformer_blocks.") != std::string::npos && parameter.slot->defined()) CHECK(parameter.slot->is_cpu());
  }
}

TEST_CASE("on a GPU blocks take the memory of two" * doctest::skip(!at::hasCUDA())) {
  const c10::InferenceMode inference;
  auto big = config();
  big.num_attention_heads = 32;
  big.num_layers = big.num_single_layers = 12;
  FluxTransformer model(big);
  randomise(model, 1);
  int64_t blocks = 0;
  for (const auto* block : model.block_modules())
    for (const auto& parameter : block->named_parameters()) blocks += static_cast<int64_t>(parameter.slot->nbytes());
  auto& allocator = *c10::getDeviceAllocator(c10::kCUDA);
  const auto peak = [&] { return allocator.getDeviceStats(0).allocated_bytes[0].peak; };
  allocator.resetPeakStats(0);
  const int64_t before = peak();
  model.stream_blocks(c10::Device(c10::kCUDA));
  model.forward(input(c10::Device(c10::kCUDA)));
  const int64_t buffers = nn::layer_buffer_bytes(model.block_modules());
  CHECK(peak() - before > buffers);
  CHECK(peak() - before < blocks / 2);
}
