// What every subcommand of the program shares: how options reach it, how it reports and how it ends.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <stop_token>
#include <string>

#include "resflow/core/fields.h"
#include "resflow/core/progress.h"

namespace resflow::cli {

// Exit codes of the program.
enum Exit : int { kGood = 0, kSomeFailed = 1, kUserError = 2, kBug = 70, kCancelled = 130 };

// A subcommand: adds its options to `app` and gives back what runs it.
using Command = std::function<int()> (*)(CLI::App& app);

std::function<int()> command_train(CLI::App& app);
std::function<int()> command_bench_flux(CLI::App& app);
#ifndef RESFLOW_TRAIN_ONLY
std::function<int()> command_restore(CLI::App& app);
std::function<int()> command_generate(CLI::App& app);
std::function<int()> command_doctor(CLI::App& app);
std::function<int()> command_search_report(CLI::App& app);
std::function<int()> command_search_bench(CLI::App& app);
std::function<int()> command_degrade(CLI::App& app);
std::function<int()> command_eval(CLI::App& app);
std::function<int()> command_pack(CLI::App& app);
std::function<int()> command_pack_latents(CLI::App& app);
std::function<int()> command_merge(CLI::App& app);
std::function<int()> command_convert(CLI::App& app);
std::function<int()> command_inspect(CLI::App& app);
std::function<int()> command_bench(CLI::App& app);
std::function<int()> command_pull(CLI::App& app);
std::function<int()> command_compare(CLI::App& app);
std::function<int()> command_inspect_file(CLI::App& app);  // command_inspect, and pictures
std::function<int()> command_caption(CLI::App& app);
std::function<int()> command_docs(CLI::App& app);
std::function<int()> command_serve(CLI::App& app);

struct PackOptions {
  std::vector<std::string> inputs;
  std::string output;
  std::string only, except;      // text files of file names, or ""
  std::string degraded, taught;  // folders of pictures of the same stems, or "": see train/dataset.h
};

// Packs pictures into a shard. -> kGood, or kSomeFailed where some could not be read.
int pack_pictures(const PackOptions& options);
#endif

// Parses, runs one of the commands, turns exceptions into messages and exit codes.
int run_program(int argc, char** argv, const std::vector<std::tuple<std::string, std::string, Command>>& commands);

// Requested by Ctrl-C and SIGTERM; a second Ctrl-C ends the program at once.
std::stop_token interrupted();

// A progress line with ETA on a terminal, a plain line now and then elsewhere. `what` begins each line.
std::function<void(const Progress&)> progress_printer(std::string what);
// Ends the terminal's progress line.
void end_progress();

// Adds an option for each field: sigma_s -> --sigma-s; a nested struct's carry its name: --model.width, and stand under its help in
// --help. `group` is the heading in --help. Values are checked by check_fields() when the command runs, so the message is the library's.
// Of an option given twice the last counts; lists grow.
template <HasFields Options>
void add_options(CLI::App& app, Options& options, const std::string& prefix = "", const std::string& group = "") {
  Options::fields(options, [&](const std::string& name, auto& value, const std::string& help, const auto&... constraint) {
    using Value = std::remove_cvref_t<decltype(value)>;
    std::string flag = "--" + prefix + name;
    std::replace(flag.begin(), flag.end(), '_', '-');
    if constexpr (HasFields<Value>) {
      add_options(app, value, prefix + name + ".", help);
    } else {
      std::string text = help;
      const auto describe = [&](const auto& c) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(c)>, OneOf>) {
          text += " (";
          for (size_t i = 0; i < c.names.size(); ++i) text += (i > 0 ? " | " : "") + c.names[i];
          text += ")";
        }
      };
      (describe(constraint), ...);
      if constexpr (std::is_same_v<Value, bool>) {
        auto* option = app.add_flag(flag + ",!--no-" + flag.substr(2), value, text);
        if (!group.empty()) option->group(group);
      } else {
        auto* option = app.add_option(flag, value, text)->capture_default_str();
        if (!group.empty()) option->group(group);
        if constexpr (std::is_same_v<Value, std::vector<std::string>> || std::is_same_v<Value, std::vector<double>>) {
          option->delimiter(',');
        } else {
          option->take_last();
        }
      }
    }
  });
}

}  // namespace resflow::cli
