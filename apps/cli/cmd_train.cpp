// resflow train CONFIG.toml [--option value ...]
#include <fmt/format.h>

#include <toml++/toml.h>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "command.h"
#include "resflow/core/files.h"
#include "resflow/train/trainer.h"

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

// A folder of pictures in the place of a shard is packed into the run's folder, once.
std::string shard_of(const std::string& path, const std::string& output, const std::string& name) {
#ifndef RESFLOW_TRAIN_ONLY
  if (std::filesystem::is_directory(path)) {
    const auto shard = std::filesystem::path(output) / "shards" / (name + ".safetensors");
    if (!std::filesystem::exists(shard)) pack_pictures({path}, shard.string(), "", "");
    return shard.string();
  }
#endif
  return path;
}

}  // namespace

std::function<int()> command_train(CLI::App& app) {
  struct State {
    std::string config;
    train::TrainOptions options;
    bool validate_only = false, json = false;
  };
  auto state = std::make_shared<State>();
  app.add_option("config", state->config, "TOML file of options; those given on the command line win")->required();
  app.add_flag("--validate-only", state->validate_only, "Validate the run's weights and stop");
  app.add_flag("--json", state->json, "Print the result as JSON");
  app.footer(
      "Examples:\n  resflow train configs/dr.toml --data photos/\n  resflow train configs/flow.toml --steps 20000 --output "
      "runs/long\n"
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
        const auto dot = name.find('.');
        if (dot != std::string::npos) {
          merged[name.substr(0, dot)][name.substr(dot + 1)] = given[name.substr(0, dot)][name.substr(dot + 1)];
        } else if (given.contains(name)) {
          merged[name] = given[name];
        }
      }
    fields_from_json(options, merged, "command line");
    for (size_t i = 0; i < options.data.size(); ++i) options.data[i] = shard_of(options.data[i], options.output, "data" + std::to_string(i));
    options.validation = shard_of(options.validation, options.output, "validation");
    if (state->validate_only) {
      std::printf("%s\n", train::validate(options).dump(2).c_str());
      return static_cast<int>(kGood);
    }
    const auto result = train::train(options, {.on_progress = progress_printer(""), .stop = interrupted()});
    end_progress();
    if (state->json) {
      std::printf(
          "%s\n",
          Json({{"step", result.step}, {"loss", result.loss}, {"validation", result.validation}, {"output", options.output}}).dump(2).c_str());
    } else {
      std::printf("done: step %lld, loss %.5f, weights in %s/weights.safetensors\n", static_cast<long long>(result.step), result.loss,
                  options.output.c_str());
    }
    return static_cast<int>(kGood);
  };
}

}  // namespace resflow::cli
