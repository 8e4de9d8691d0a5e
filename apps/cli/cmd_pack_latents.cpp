// resflow pack-latents GOOD --poor DIR --model FLUX.1-dev -o latents.safetensors
#include <fmt/format.h>

#include <filesystem>
#include <map>

#include "command.h"
#include "resflow/core/files.h"
#include "resflow/core/log.h"
#include "resflow/generate/latent_shard.h"
#include "resflow/restore/picture_list.h"

namespace resflow::cli {
namespace {

struct State {
  std::vector<std::string> inputs;
  std::string poor, output, text;
  generate::ModelOptions model;
  generate::ShardOptions shard;
};

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n"), last = text.find_last_not_of(" \t\r\n");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

int run(const State& state) {
  check_fields(state.model);
  std::map<std::string, std::filesystem::path> poor;  // by stem
  for (const auto& path : restore::list_pictures({state.poor})) poor[path.stem().string()] = path;
  std::vector<generate::ShardSample> samples;
  for (const auto& path : restore::list_pictures(state.inputs)) {
    const auto found = poor.find(path.stem().string());
    if (found == poor.end())
      throw_user_error({.where = path.string(),
                        .problem = "no poor picture of that name",
                        .wanted = fmt::format("'{}' with any extension in {}", path.stem().string(), state.poor),
                        .got = "none",
                        .hint = "`resflow degrade` makes them"});
    auto sidecar = path;
    sidecar.replace_extension(".txt");
    samples.push_back({.good = path, .poor = found->second, .text = std::filesystem::exists(sidecar) ? trimmed(read_text(sidecar)) : state.text});
  }
  create_folder(std::filesystem::path(state.output).parent_path());
  generate::write_latent_shard(state.output, samples, state.model, state.shard, {.on_progress = progress_printer(""), .stop = interrupted()});
  end_progress();
  log_info(fmt::format("{} samples -> {}", samples.size(), state.output));
  return kGood;
}

}  // namespace

std::function<int()> command_pack_latents(CLI::App& app) {
  auto state = std::make_shared<State>();
  app.add_option("inputs", state->inputs, "Good pictures: files, folders, globs; NAME.txt beside one is its text")->required();
  app.add_option("--poor", state->poor, "Folder of the poor pictures, of the same names")->required();
  app.add_option("-o,--output", state->output, "Shard to write (.safetensors)")->required();
  app.add_option("--text", state->text, "Text of pictures without one of their own");
  add_options(app, state->model);
  add_options(app, state->shard);
  app.footer(
      "Example:\n  resflow degrade photos/ -o poor/ && resflow pack-latents photos/ --poor poor/ --model black-forest-labs/FLUX.1-dev -o "
      "latents.safetensors\n"
      "Then: resflow train configs/flux-ummf.toml --data latents.safetensors");
  return [state] { return run(*state); };
}

}  // namespace resflow::cli
