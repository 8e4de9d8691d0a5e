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
  std::string poor, removed, output, text;
  generate::ModelOptions model;
  generate::ShardOptions shard;
};

using Pictures = std::map<std::string, std::filesystem::path>;  // by stem

Pictures pictures_in(const std::string& folder) {
  Pictures out;
  if (folder.empty()) return out;
  for (const auto& path : restore::list_pictures({folder})) out[path.stem().string()] = path;
  return out;
}

std::function<Tensor()> reader(const std::filesystem::path& path) {
  return [path] { return image::read_picture(path).pixels; };
}

// Of samples as they come: what they brought along goes before --poor and --text.
generate::SampleStream stream_of(const State& state, const Pictures& poor, const Pictures& removed, std::vector<samples::Skipped>& skipped) {
  return [&](bool pixels, const std::function<void(const generate::ShardSample&)>& take) {
    skipped = samples::each_sample(state.inputs, {.pixels = pixels}, [&](const samples::Sample& sample) {
      generate::ShardSample out{
          .where = sample.where, .text = sample.text.value_or(state.text), .good = sample.pixels, .poor = sample.poor, .removed = {}};
      const auto of_its_name = [&](const Pictures& pictures, const std::string& folder, const char* option, const char* whose, const char* hint) {
        const std::string name = std::filesystem::path(sample.name).filename().string();
        const auto found = pictures.find(name);
        if (found == pictures.end())
          throw_user_error(
              {.where = sample.where,
               .problem = fmt::format("no {} picture of that name", whose),
               .wanted = folder.empty() ? fmt::format("{}, a folder of them", option) : fmt::format("'{}' with any extension in {}", name, folder),
               .got = "none",
               .hint = hint});
        return reader(found->second);
      };
      if (!out.poor) out.poor = of_its_name(poor, state.poor, "--poor", "poor", "`resflow degrade` makes them");
      if (!state.removed.empty())
        out.removed = of_its_name(removed, state.removed, "--removed", "remover's", "`resflow restore POOR -o REMOVED --strength 0` makes them");
      take(out);
    });
  };
}

int run(const State& state) {
  check_fields(state.model);
  const Pictures poor = pictures_in(state.poor), removed = pictures_in(state.removed);
  create_folder(std::filesystem::path(state.output).parent_path());
  std::vector<samples::Skipped> skipped;
  const auto written = generate::write_latent_shards(state.output, stream_of(state, poor, removed, skipped), state.model, state.shard,
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
  app.add_option("--removed", state->removed,
                 "Folder of the degradation remover's pictures of the poor ones, of the same names: for fusion.condition reference or both");
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
