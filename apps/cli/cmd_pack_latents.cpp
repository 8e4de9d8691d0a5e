// resflow pack-latents GOOD --poor DIR --model FLUX.1-dev -o latents.safetensors
#include <fmt/format.h>

#include <filesystem>
#include <map>

#include "command.h"
#include "failed_pictures.h"
#include "resflow/core/files.h"
#include "resflow/core/log.h"
#include "resflow/generate/latent_shard.h"
#include "resflow/image/codec.h"
#include "resflow/restore/picture_list.h"
#include "resflow/samples/sample.h"

namespace resflow::cli {
namespace {

struct State {
  std::vector<std::string> inputs;
  std::string poor, output, text;
  generate::ModelOptions model;
  generate::ShardOptions shard;
};

using Pictures = std::map<std::string, std::filesystem::path>;  // by stem

// Of samples as they come: what they brought along goes before --poor and --text.
generate::SampleStream stream_of(const State& state, const Pictures& poor, std::vector<samples::Skipped>& skipped) {
  return [&](bool pixels, const std::function<void(const generate::ShardSample&)>& take) {
    skipped = samples::each_sample(state.inputs, {.pixels = pixels}, [&](const samples::Sample& sample) {
      generate::ShardSample out{.where = sample.where, .text = sample.text.value_or(state.text), .good = sample.pixels, .poor = sample.poor};
      const auto found = poor.find(std::filesystem::path(sample.name).filename());
      if (!out.poor && found == poor.end())
        throw_user_error({.where = sample.where,
                          .problem = "no poor picture of that name",
                          .wanted = state.poor.empty() ? "--poor, a folder of them"
                                                       : fmt::format("'{}' with any extension in {}",
                                                                     std::filesystem::path(sample.name).filename().string(), state.poor),
                          .got = "none",
                          .hint = "`resflow degrade` makes them"});
      if (!out.poor) out.poor = [&found] { return image::read_picture(found->second).pixels; };
      take(out);
    });
  };
}

int run(const State& state) {
  check_fields(state.model);
  Pictures poor;
  if (!state.poor.empty())
    for (const auto& path : restore::list_pictures({state.poor})) poor[path.stem().string()] = path;
  create_folder(std::filesystem::path(state.output).parent_path());
  std::vector<samples::Skipped> skipped;
  const auto written = generate::write_latent_shards(state.output, stream_of(state, poor, skipped), state.model, state.shard,
                                                     {.on_progress = progress_printer(""), .stop = interrupted()});
  end_progress();
  size_t count = 0;
  for (const auto& [shard, samples] : written.shards) {
    log_info(fmt::format("{} samples -> {}", samples, shard.string()));
    count += static_cast<size_t>(samples);
  }
  FailedPictures failed;
  for (const auto& [where, problem] : written.failed) failed.add(where, problem);
  for (const auto& [where, problem] : skipped) failed.add(where, problem);
  return failed.report(count);
}

}  // namespace

std::function<int()> command_pack_latents(CLI::App& app) {
  auto state = std::make_shared<State>();
  app.add_option("inputs", state->inputs,
                 "Good pictures: files, folders, globs, NAME.txt beside one is its text; tar shards (webdataset's: KEY.jpg, KEY.poor.jpg, KEY.txt or "
                 "KEY.json); "
                 "lists (.jsonl: {\"image\": path, \"poor\": path, \"caption\": text})")
      ->required();
  app.add_option("--poor", state->poor, "Folder of the poor pictures, of the same names; not needed where each good one brings its own");
  app.add_option("-o,--output", state->output, "Shard to write (.safetensors); with --buckets the beginning of their names")->required();
  app.add_option("--text", state->text, "Text of pictures without one of their own");
  add_options(app, state->model);
  add_options(app, state->shard);
  app.footer(
      "Example:\n  resflow degrade photos/ -o poor/ && resflow pack-latents photos/ --poor poor/ --model black-forest-labs/FLUX.1-dev -o "
      "latents.safetensors\n"
      "  resflow pack-latents 'train-*.tar' --buckets --model FLUX.1-dev -o latents.safetensors     # latents-1216x832.safetensors, ...\n"
      "Then: resflow train configs/flux-ummf.toml --data latents.safetensors");
  return [state] { return run(*state); };
}

}  // namespace resflow::cli
