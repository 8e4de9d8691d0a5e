// resflow bench: seconds on this machine, each beside a baseline of the same run.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "bench_fusion.h"
#include "bench_report.h"
#include "command.h"
#include "resflow/core/device.h"
#include "resflow/restore/restorer.h"

namespace resflow::cli {
namespace {

struct State {
  restore::ModelOptions model;
  int64_t repeats = 5, side = 128;
  std::string output;
  bool fusion = false;
  FusionBench fused;
};

template <class Work>
double median_seconds(int64_t repeats, Work&& work) {
  work();  // warm-up
  std::vector<double> times;
  for (int64_t i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

int run(const State& state) {
  if (state.fusion) return finish_bench(bench_fusion(state.fused), state.output);
  const restore::Restorer restorer(state.model);
  image::Picture source;
  source.pixels = noise_window(Stream(1, "bench"), 3, 0, 0, state.side, state.side).mul_(0.1).add_(0.5).clamp_(0, 1).squeeze(0);
  const auto time_restore = [&](double strength, int64_t steps) {
    return median_seconds(state.repeats, [&] { restorer.restore(source, {.scale = 4, .steps = steps, .strength = strength}); });
  };
  // The baseline: the same number of multiplications as bare convolutions, what this machine gives libtorch at best.
  c10::InferenceMode inference;
  const Tensor map = at::randn({1, 64, state.side, state.side}).contiguous(at::MemoryFormat::ChannelsLast),
               weight = at::randn({64, 64, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast);
  const double conv = median_seconds(4 * state.repeats, [&] { at::conv2d(map, weight, {}, 1, 1); });
  const double conv_gflops = 2.0 * 9 * 64 * 64 * static_cast<double>(state.side * state.side) / conv / 1e9;
  const double remover = time_restore(0, 1), one = time_restore(1, 1), four = time_restore(1, 4);
  const double step = (four - one) / 3;
  const auto row = [&](double seconds) { return Json{{"seconds", seconds}, {"in_bare_convolutions", seconds / conv}}; };
  return finish_bench(
      {
          {"source", fmt::format("{0}x{0}, x4", state.side)},
          {"repeats", state.repeats},
          {"baseline",
           {{"what", "one 3x3 convolution of 64 channels at a quarter of the result's side"}, {"seconds", conv}, {"gflop_per_second", conv_gflops}}},
          {"remover_alone", row(remover)},
          {"flow_step", row(step)},
          {"restore_1_step", row(one)},
          {"restore_4_steps", row(four)},
      },
      state.output);
}

}  // namespace

std::function<int()> command_bench(CLI::App& app) {
  auto state = std::make_shared<State>();
  add_options(app, state->model);
  app.add_option("--repeats", state->repeats, "Timed runs of each; the median counts")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_option("--side", state->side, "Side of the source picture")->capture_default_str()->check(CLI::Range(16, 4096));
  app.add_option("-o,--output", state->output, "Also write the JSON here");
  app.add_flag("--fusion", state->fusion, "Measure a pass of FLUX with a condition instead, its keys and values cached or not");
  app.add_option("--fusion-blocks", state->fused.single_blocks, "Single-stream blocks of that pass; half as many double-stream ones")
      ->capture_default_str()
      ->check(CLI::Range(2, 38));
  app.add_option("--fusion-tokens", state->fused.image_tokens, "Image tokens of it, and as many of the condition")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  app.footer("Examples:\n  resflow bench -o bench.json\n  resflow bench --fusion --repeats 3");
  return [state] {
    state->fused.double_blocks = state->fused.single_blocks / 2;
    state->fused.condition_tokens = state->fused.image_tokens;
    state->fused.repeats = state->repeats;
    return run(*state);
  };
}

}  // namespace resflow::cli
