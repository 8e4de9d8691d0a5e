#include "bench_flux.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>

#include "command.h"
#include "resflow/core/device.h"
#include "resflow/models/fusion/flux_fusion.h"
#include "resflow/models/tokens.h"
#include "resflow/train/optimizer.h"

namespace resflow::cli {
namespace {

constexpr double kWeightDeviation = 0.02;
constexpr int64_t kTokenSide = 16;  // pixels

// A device's clock and memory, as its allocator tells them; of a CPU the clock alone.
class Device {
 public:
  explicit Device(c10::Device device) : device_(device) {}
  void wait() const {
    if (!device_.is_cpu()) c10::impl::VirtualGuardImpl(device_.type()).synchronizeDevice(index());
  }
  void restart_peak() const {
    if (device_.is_cpu()) return;
    at::getDeviceAllocator(device_.type())->emptyCache();
    at::getDeviceAllocator(device_.type())->resetPeakStats(index());
  }
  Json bytes(bool peak) const {
    if (device_.is_cpu()) return nullptr;
    const auto stats = at::getDeviceAllocator(device_.type())->getDeviceStats(index());
    return peak ? stats.allocated_bytes[0].peak : stats.allocated_bytes[0].current;
  }

 private:
  c10::DeviceIndex index() const { return device_.index() < 0 ? c10::DeviceIndex(0) : device_.index(); }
  c10::Device device_;
};

enum class Stored { as_computed, float8, on_the_cpu };

// FLUX.1-dev's transformer of random weights. On the CPU they are drawn on the device and fetched: it draws faster.
std::unique_ptr<models::FluxTransformer> random_flux(const FluxBench& bench, c10::Device device, c10::ScalarType dtype, Stored stored) {
  models::FluxConfig config;
  config.num_layers = bench.double_blocks;
  config.num_single_layers = bench.single_blocks;
  config.num_attention_heads = bench.heads;
  config.guidance_embeds = true;
  auto flux = std::make_unique<models::FluxTransformer>(config);
  for (const auto& parameter : flux->named_parameters()) {
    Tensor drawn = at::empty(parameter.shape, at::TensorOptions().dtype(dtype).device(device)).normal_(0, kWeightDeviation);
    if (stored == Stored::float8 && parameter.quantised != nullptr) {
      parameter.quantised->stored = (drawn / kWeightDeviation).to(at::kFloat8_e4m3fn);
      parameter.quantised->scale = at::full({1}, kWeightDeviation, at::TensorOptions().dtype(at::kFloat).device(device));
      parameter.quantised->dtype = dtype;
    } else {
      *parameter.slot = stored == Stored::on_the_cpu ? drawn.cpu() : drawn;
    }
  }
  if (stored == Stored::on_the_cpu) flux->stream_blocks(device);
  return flux;
}

struct Sample {
  models::FluxInput input;
  Tensor condition;  // latent tokens
  int64_t side;      // in tokens
};

Sample random_sample(const models::FluxConfig& config, int64_t size, int64_t text_tokens, c10::Device device, c10::ScalarType dtype) {
  const int64_t side = size / kTokenSide;
  const auto draw = [&](const char* what, std::vector<int64_t> shape) { return normal_like_shape(Stream(3, what), shape).to(device, dtype); };
  Sample out{.input = {}, .condition = draw("condition", {1, side * side, config.in_channels}), .side = side};
  out.input.hidden_states = draw("z", {1, side * side, config.in_channels});
  out.input.encoder_hidden_states = draw("text", {1, text_tokens, config.joint_attention_dim});
  out.input.pooled = draw("pooled", {1, config.pooled_projection_dim});
  const auto number = [&](double value) { return at::full({1}, value, at::TensorOptions().dtype(at::kFloat).device(device)); };
  out.input.timestep = number(0.5);
  out.input.guidance = number(3.5);
  out.input.img_ids = models::image_ids(side, side).to(device);
  out.input.txt_ids = at::zeros({text_tokens, 3}, out.input.img_ids.options());
  return out;
}

// Median seconds of work, after a run that warms up, and what the device held at most.
Json measured(const FluxBench& bench, const Device& device, const std::function<void()>& work) {
  const Json weights = device.bytes(false);
  device.restart_peak();
  std::vector<double> times;
  for (int64_t i = 0; i <= bench.repeats; ++i) {
    device.wait();
    const auto start = std::chrono::steady_clock::now();
    work();
    device.wait();
    if (i > 0) times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  return {{"seconds", times[times.size() / 2]}, {"weight_bytes", weights}, {"peak_bytes", device.bytes(true)}};
}

Json measure_pass(const FluxBench& bench, c10::Device at, c10::ScalarType dtype, Stored stored) {
  c10::InferenceMode inference;
  const Device device(at);
  const auto flux = random_flux(bench, at, dtype, stored);
  const auto sample = random_sample(flux->config(), bench.size, bench.text_tokens, at, dtype);
  return measured(bench, device, [&] { flux->forward(sample.input); });
}

// With a condition as large as the picture, its keys and values prepared, and computed in the pass.
Json measure_condition(const FluxBench& bench, c10::Device at, c10::ScalarType dtype) {
  c10::InferenceMode inference;
  const Device device(at);
  const auto flux = random_flux(bench, at, dtype, Stored::as_computed);
  models::FluxFusion fusion(*flux, {});
  fusion.initialise(Stream(2, "bench"));
  fusion.to(at, dtype);
  fusion.attach();
  const auto sample = random_sample(flux->config(), bench.size, bench.text_tokens, at, dtype);
  const auto place = [&](models::FluxCondition condition) {
    condition.ids = condition.ids.to(at);
    return condition;
  };
  const auto anew = place(fusion.condition(sample.condition, sample.side, sample.side));
  Json out;
  out["computed_in_the_pass"] = measured(bench, device, [&] { fusion.forward(sample.input, anew); });
  const auto prepared = fusion.prepare(sample.condition, sample.side, sample.side, sample.input.pooled);
  out["prepared"] = measured(bench, device, [&] { fusion.forward(sample.input, prepared); });
  out["preparing"] = measured(bench, device, [&] { fusion.prepare(sample.condition, sample.side, sample.side, sample.input.pooled); });
  return out;
}

// One step of training the adapter of unified multi-modal fusion: `train/flux_objective.h` on a random sample.
Json measure_training(const FluxBench& bench, c10::Device at, c10::ScalarType dtype, bool checkpoint) {
  const Device device(at);
  const auto flux = random_flux(bench, at, dtype, Stored::as_computed);
  models::FluxFusion fusion(*flux, {});
  fusion.initialise(Stream(2, "bench"));
  fusion.to(at, at::kFloat);
  for (const auto& parameter : fusion.named_parameters())  // nothing is left out because an output still is a zero map
    if (parameter.slot->count_nonzero().item<int64_t>() == 0) parameter.slot->normal_(0, 1e-3);
  train::AdamW optimizer(fusion, {});
  fusion.requires_grad(true);
  fusion.attach();
  auto sample = random_sample(flux->config(), bench.train_size, bench.text_tokens, at, dtype);
  sample.input.checkpoint = checkpoint;
  const Tensor target = at::randn_like(sample.input.hidden_states, at::kFloat);
  const auto parameters = optimizer.parameters();
  int64_t step = 0;
  Json out = measured(bench, device, [&] {
    at::AutoGradMode with_gradients(true);
    auto condition = fusion.condition(sample.condition, sample.side, sample.side);
    condition.ids = condition.ids.to(at);
    const Tensor loss = at::mse_loss(fusion.forward(sample.input, condition).to(at::kFloat), target);
    auto found = torch::autograd::grad({loss}, parameters, {}, std::nullopt, /*create_graph=*/false, /*allow_unused=*/true);
    for (size_t i = 0; i < parameters.size(); ++i)
      if (!found[i].defined()) found[i] = at::zeros_like(parameters[i]);
    optimizer.step(++step, 1e-4, found);
  });
  out["trainable"] = fusion.parameter_count();
  return out;
}

Json measure(const FluxBench& bench, const std::string& name, c10::Device device, c10::ScalarType dtype) {
  if (name == "plain") return measure_pass(bench, device, dtype, Stored::as_computed);
  if (name == "fp8") return measure_pass(bench, device, dtype, Stored::float8);
  if (name == "stream") return measure_pass(bench, device, dtype, Stored::on_the_cpu);
  if (name == "condition") return measure_condition(bench, device, dtype);
  return measure_training(bench, device, dtype, name == "train-checkpoint");
}

}  // namespace

Json bench_flux(const FluxBench& bench) {
  check_fields(bench);
  for (const int64_t size : {bench.size, bench.train_size})
    if (size % kTokenSide != 0)
      throw_user_error(
          {.where = "bench-flux", .problem = "a size that tokens do not cover", .wanted = "a multiple of 16", .got = std::to_string(size)});
  const auto device = parse_device(bench.device);
  const auto dtype = parse_dtype(bench.dtype, device);
  Json cases = Json::object();
  for (const auto& name : bench.cases) cases[name] = measure(bench, name, device, dtype);
  return {{"what", "FLUX.1-dev by its shape, random weights, one sample"},
          {"device", device.str()},
          {"dtype", dtype_name(dtype)},
          {"options", fields_to_json(bench)},
          {"cases", cases}};
}

}  // namespace resflow::cli
