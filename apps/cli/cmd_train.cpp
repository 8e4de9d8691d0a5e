// resflow train CONFIG.toml [--option value ...]
#include <fmt/format.h>

#include <toml++/toml.h>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "command.h"
#include "resflow/core/files.h"
#ifndef RESFLOW_TRAIN_ONLY
#include "resflow/samples/sample.h"
#endif
#include "resflow/train/flux_trainer.h"

namespace resflow::cli {
namespace {

Json to_json(const std::string& path) {
  try {
    std::ostringstream text;
    text << toml::json_formatter(toml::parse(read_text(path), path));
    return Json::parse(text.str());
  } catch (const toml::parse_error& error) {
    throw_user_error({.where = path, .problem = fmt::format("line {}: {}", error.source().begin.line, error.description())});
  }
}

// A folder of pictures, a tar shard or a list in the place of a shard is packed into the run's folder, once.
std::string shard_of(const std::string& path, const std::string& output, const std::string& name) {
#ifndef RESFLOW_TRAIN_ONLY
  if (std::filesystem::is_directory(path) || samples::is_sample_file(path)) {
    const auto shard = std::filesystem::path(output) / "shards" / (name + ".safetensors");
    if (!std::filesystem::exists(shard))
      pack_pictures({.inputs = {path}, .output = shard.string(), .only = {}, .except = {}, .degraded = {}, .taught = {}});
    return shard.string();
  }
#endif
  return path;
}

int dry_run(const train::TrainOptions& options, bool json) {
  if (options.task != "flux-lora")
    throw_user_error({.where = "train", .problem = "--dry-run is for task flux-lora", .wanted = "task = \"flux-lora\"", .got = options.task});
  const Json need = train::flux_need(options);
  if (json) {
    std::printf("%s\n", need.dump(2).c_str());
    return kGood;
  }
  const auto gigabytes = [&](const char* what) { return need["bytes"][what].get<double>() / 1e9; };
  fmt::print("{} ({}): {} trainable parameters of {}\n", need["shape"].get<std::string>(), options.fusion.fusion,
             need["trainable_parameters"].get<int64_t>(), need["frozen_parameters"].get<int64_t>());
  fmt::print("memory: {:.1f} GB of frozen weights, {:.1f} GB of training state, about {:.1f} GB of activations\n", gigabytes("frozen_weights"),
             gigabytes("training_state"), gigabytes("activations_estimate"));
  return kGood;
}

int loading_only(const train::TrainOptions& options, double seconds, bool json) {
  const Json speed = train::measure_loading(options, seconds, {.on_progress = progress_printer(""), .stop = interrupted()});
  end_progress();
  if (json)
    std::printf("%s\n", speed.dump(2).c_str());
  else
    fmt::print("{:.1f} crops of {} px a second by {} loaders\n", speed["crops_per_second"].get<double>(), options.crop, options.loaders);
  return kGood;
}

}  // namespace

std::function<int()> command_train(CLI::App& app) {
  struct State {
    std::string config;
    train::TrainOptions options;
    bool validate_only = false, dry_run = false, json = false;
    double loading_only = 0;
  };
  auto state = std::make_shared<State>();
  app.add_option("config", state->config, "TOML file of options; those given on the command line win")->required();
  app.add_flag("--validate-only", state->validate_only, "Validate the run's weights and stop");
  app.add_option("--loading-only", state->loading_only, "Only prepare batches, for so many seconds, and say how fast that goes: enough `loaders`?")
      ->check(CLI::Range(0.1, 3600.0));
  app.add_flag("--dry-run", state->dry_run, "Say what training for FLUX would train and need, and stop; no weights are needed");
  app.add_flag("--json", state->json, "Print the result as JSON");
  app.footer(
      "Examples:\n  resflow train configs/dr.toml --data photos/\n  resflow train configs/flow.toml --steps 20000 --output "
      "runs/long\n"
      "  resflow train configs/flux-ummf.toml --dry-run --json\n"
      "A run started again goes on from its folder's checkpoint.");
  add_options(app, state->options);
  return [state, &app] {
    // The file gives the values; what the command line set is laid over it.
    train::TrainOptions options;
    fields_from_json(options, to_json(state->config), state->config);
    Json merged = fields_to_json(options);
    const Json given = fields_to_json(state->options);
    for (const auto* option : app.get_options())
      if (option->count() > 0) {
        std::string name = option->get_lnames().empty() ? "" : option->get_lnames()[0];
        std::replace(name.begin(), name.end(), '-', '_');
        std::replace(name.begin(), name.end(), '.', '/');
        const Json::json_pointer place("/" + name);
        if (given.contains(place)) merged[place] = given[place];
      }
    fields_from_json(options, merged, "command line");
    const bool for_flux = options.task == "flux-lora";
    const train::RankPlace place = train::rank_place();
    if ((state->dry_run || state->validate_only || state->loading_only > 0) && !place.first())
      return static_cast<int>(kGood);  // that is one process's work
    if (state->dry_run) return dry_run(options, state->json);
    if (for_flux && (state->validate_only || state->loading_only > 0))
      throw_user_error({.where = "train",
                        .problem = state->validate_only ? "--validate-only is for the compact model" : "--loading-only is for the compact model",
                        .hint = "--dry-run says what training for FLUX needs"});
    const auto pack = [&] {
      for (size_t i = 0; i < options.data.size() && !for_flux; ++i)
        options.data[i] = shard_of(options.data[i], options.output, "data" + std::to_string(i));
      if (!for_flux) options.validation = shard_of(options.validation, options.output, "validation");
    };
    if (state->validate_only) {
      pack();
      std::printf("%s\n", train::validate(options).dump(2).c_str());
      return static_cast<int>(kGood);
    }
    if (state->loading_only > 0) {
      pack();
      return loading_only(options, state->loading_only, state->json);
    }
    train::Ranks ranks(options);
    if (place.local == 0) pack();
    ranks.meet();
    pack();  // of the other ranks of this machine, which find the shards
    const Job job{.on_progress = progress_printer(""), .stop = interrupted()};
    const auto result = for_flux ? train::train_flux(options, ranks, job) : train::train(options, ranks, job);
    end_progress();
    if (!ranks.first()) return static_cast<int>(kGood);
    if (state->json) {
      std::printf(
          "%s\n",
          Json({{"step", result.step}, {"loss", result.loss}, {"validation", result.validation}, {"output", options.output}}).dump(2).c_str());
    } else {
      std::printf("done: step %lld, loss %.5f, weights in %s\n", static_cast<long long>(result.step), result.loss, options.output.c_str());
    }
    return static_cast<int>(kGood);
  };
}

}  // namespace resflow::cli
