#include "bench_fusion.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "resflow/core/device.h"
#include "resflow/models/fusion/flux_fusion.h"
#include "resflow/models/tokens.h"

namespace resflow::cli {
namespace {

// Median seconds of each kind of work, their runs interleaved, so that a change of the machine's speed meets all.
std::vector<double> median_seconds(int64_t repeats, const std::vector<std::function<void()>>& works) {
  std::vector<std::vector<double>> times(works.size());
  for (int64_t i = 0; i <= repeats; ++i)
    for (size_t w = 0; w < works.size(); ++w) {
      const auto start = std::chrono::steady_clock::now();
      works[w]();
      if (i > 0) times[w].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());  // the first warms up
    }
  std::vector<double> out;
  for (auto& of_work : times) {
    std::sort(of_work.begin(), of_work.end());
    out.push_back(of_work[of_work.size() / 2]);
  }
  return out;
}

}  // namespace

Json bench_fusion(const FusionBench& bench) {
  c10::InferenceMode inference;
  models::FluxConfig config;
  config.num_layers = bench.double_blocks;
  config.num_single_layers = bench.single_blocks;
  config.guidance_embeds = true;
  models::FluxTransformer flux(config);
  flux.initialise(Stream(1, "bench"));
  models::FluxFusion fusion(flux, {});
  fusion.initialise(Stream(2, "bench"));
  fusion.attach();

  const auto draw = [&](const char* what, std::vector<int64_t> shape) { return normal_like_shape(Stream(3, what), shape); };
  const auto rows_of = [](int64_t tokens) { return std::max<int64_t>(static_cast<int64_t>(std::sqrt(static_cast<double>(tokens))), 1); };
  const auto grid = [&](int64_t tokens) { return std::pair{tokens / rows_of(tokens), rows_of(tokens)}; };
  const auto [rows, columns] = grid(bench.image_tokens);
  const auto [condition_rows, condition_columns] = grid(bench.condition_tokens);
  models::FluxInput input;
  input.hidden_states = draw("z", {1, rows * columns, config.in_channels});
  input.encoder_hidden_states = draw("text", {1, bench.text_tokens, config.joint_attention_dim});
  input.pooled = draw("pooled", {1, config.pooled_projection_dim});
  input.timestep = at::full({1}, 0.5);
  input.guidance = at::full({1}, 3.5);
  input.img_ids = models::image_ids(rows, columns);
  input.txt_ids = at::zeros({bench.text_tokens, 3}, at::kDouble);
  const Tensor tokens = draw("condition", {1, condition_rows * condition_columns, config.in_channels});
  const auto anew = fusion.condition(tokens, condition_rows, condition_columns);
  const auto prepared = fusion.prepare(tokens, condition_rows, condition_columns, input.pooled);
  auto full = anew;
  full.attention = models::ConditionAttention::full;

  const auto seconds = median_seconds(
      bench.repeats, {[&] { fusion.forward(input, anew); }, [&] { fusion.forward(input, prepared); }, [&] { fusion.forward(input, full); },
                      [&] { flux.forward(input); }, [&] { fusion.prepare(tokens, condition_rows, condition_columns, input.pooled); }});
  constexpr int64_t kSteps = 28;
  return {{"what", "one pass of FLUX's widths with a condition, float32, random weights"},
          {"blocks", {{"double", bench.double_blocks}, {"single", bench.single_blocks}}},
          {"tokens", {{"image", rows * columns}, {"condition", condition_rows * condition_columns}, {"text", bench.text_tokens}}},
          {"repeats", bench.repeats},
          {"seconds",
           {{"computed_in_the_pass", seconds[0]},
            {"prepared", seconds[1]},
            {"full_attention", seconds[2]},
            {"without_condition", seconds[3]},
            {"preparing", seconds[4]}}},
          {"speed_up",
           {{"a_pass", seconds[0] / seconds[1]},
            {"28_steps", kSteps * seconds[0] / (kSteps * seconds[1] + seconds[4])},
            {"28_steps_against_full", kSteps * seconds[2] / (kSteps * seconds[1] + seconds[4])}}}};
}

}  // namespace resflow::cli
