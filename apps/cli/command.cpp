#include "command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <mutex>

#include "resflow/core/device.h"
#include "resflow/core/error.h"
#include "resflow/core/log.h"
#include "resflow/core/registry.h"

namespace resflow::cli {
namespace {

std::stop_source stop_source;

extern "C" void on_signal(int number) {
  // request_stop() only sets an atomic flag here: nobody registers callbacks on this source.
  if (stop_source.stop_requested()) std::_Exit(kCancelled);
  stop_source.request_stop();
  std::signal(number, on_signal);
}

bool progress_open = false, quiet = false;
std::mutex progress_mutex;

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  return s < 60 ? fmt::format("{} s", s) : s < 3600 ? fmt::format("{}:{:02} min", s / 60, s % 60) : fmt::format("{}:{:02} h", s / 3600, s / 60 % 60);
}

// The option or command that was meant, in a sentence; "" where none is near.
std::string suggestion(const CLI::App& app, const std::string& wrong) {
  std::vector<std::string> known;
  if (wrong.starts_with('-')) {
    for (const CLI::App* level = &app; level != nullptr; level = level->get_parent())
      for (const auto* option : level->get_options())
        for (const auto& name : option->get_lnames()) known.push_back("--" + name);
  } else {
    for (const auto* command : app.get_subcommands({})) known.push_back(command->get_name());
  }
  const std::string near = nearest_name(wrong.substr(0, wrong.find('=')), known);
  return near.empty() ? "" : "Did you mean '" + near + "'? ";
}

// What CLI11 could not make sense of, with a way out.
int report_parsing(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* command = &app;
  for (const auto* sub : app.get_subcommands()) command = sub;
  std::string text = error.what(), hint;
  std::string wrong;  // the first that is neither an option nor a command
  for (const CLI::App* level : {command, &app})
    for (const auto& extra : level->remaining())
      if (wrong.empty() && (extra.starts_with('-') || command == &app)) wrong = extra;
  if (!wrong.empty()) {
    text = (wrong.starts_with('-') ? "unknown option '" : "unknown command '") + wrong + "'";
    hint = suggestion(*command, wrong);
  }
  std::fprintf(stderr, "resflow: %s. %sTry: resflow %s--help\n", text.c_str(), hint.c_str(),
               command == &app ? "" : (command->get_name() + " ").c_str());
  return kUserError;
}

int report(const std::exception& error, int code) {
  end_progress();
  std::fprintf(stderr, "resflow: %s\n", readable_message(error).c_str());
  if (code == kBug) std::fprintf(stderr, "This is a bug in resflow, or a broken installation. Please report it with the command you ran.\n");
  return code;
}

}  // namespace

std::stop_token interrupted() { return stop_source.get_token(); }

std::function<void(const Progress&)> progress_printer(std::string what) {
  using Clock = std::chrono::steady_clock;
  struct State {
    // The first report, whatever went before it: work that was done in an earlier sitting, or many units at once.
    Clock::time_point start{}, printed{};
    double first = -1;
  };
  // How much of everything is done: of several pictures each counts the same.
  const auto share = [](const Progress& p, int64_t done) {
    const double here = p.of > 0 ? static_cast<double>(done) / static_cast<double>(p.of) : 0;
    return (static_cast<double>(p.item) + here) / static_cast<double>(p.of_items);
  };
  return [what = std::move(what), share, state = std::make_shared<State>(), terminal = ::isatty(STDERR_FILENO) == 1](const Progress& progress) {
    const std::lock_guard lock(progress_mutex);
    if (quiet) return;
    const auto now = Clock::now();
    if (state->first < 0) {
      state->start = now;
      state->first = share(progress, progress.done);
    }
    const bool last = progress.done == progress.of && progress.item + 1 == progress.of_items;
    if (now - state->printed < (terminal ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000)) && !last) return;
    state->printed = now;
    const double elapsed = std::chrono::duration<double>(now - state->start).count();
    const double all = share(progress, progress.done), since = all - state->first;
    const std::string eta = progress.of > 0 && !last && since > 0 ? fmt::format(", {} left", duration(elapsed / since * (1 - all))) : "";
    const std::string item = progress.of_items > 1 ? fmt::format("picture {}/{}, ", progress.item + 1, progress.of_items) : "";
    const std::string line = fmt::format("{}{}{} {}/{}{}", what, item, progress.stage, progress.done, progress.of, eta);
    if (terminal) {
      std::fprintf(stderr, "\r\033[K%s", line.c_str());
      progress_open = true;
    } else {
      std::fprintf(stderr, "%s\n", line.c_str());
    }
  };
}

void end_progress() {
  const std::lock_guard lock(progress_mutex);
  if (progress_open) std::fprintf(stderr, "\r\033[K");
  progress_open = false;
}

int run_program(int argc, char** argv, const std::vector<std::tuple<std::string, std::string, Command>>& commands) {
  CLI::App app("resflow restores real photographs: blurred, noisy, compressed, small.", "resflow");
  app.set_version_flag("--version", std::string("resflow ") + RESFLOW_VERSION);
  app.require_subcommand(0, 1);
  app.fallthrough();
  int threads = 0;
  app.add_option("--threads", threads, "CPU threads (0 = one a core)");
  app.add_flag("-q,--quiet", quiet, "Print errors only");
  std::vector<std::pair<CLI::App*, std::function<int()>>> runs;
  for (const auto& [name, help, command] : commands) {
    CLI::App* sub = app.add_subcommand(name, help);
    runs.emplace_back(sub, command(*sub));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return report_parsing(app, error);
  }
  if (app.get_subcommands().empty()) {
    std::fprintf(stderr, "%s\n", app.help().c_str());
    return kUserError;
  }
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  if (quiet) set_log_level(LogLevel::quiet);
  set_threads(threads);
  try {
    for (const auto& [sub, run] : runs)
      if (sub->parsed()) {
        const int code = run();
        end_progress();
        return code;
      }
    return kUserError;
  } catch (const Cancelled&) {
    end_progress();
    std::fprintf(stderr, "resflow: cancelled\n");
    return kCancelled;
  } catch (const UserError& error) {
    return report(error, kUserError);
  } catch (const std::filesystem::filesystem_error& error) {  // the machine's state, not ours
    return report(UserError("[" + error.path1().string() + "] " + error.code().message()), kUserError);
  } catch (const std::exception& error) {
    const bool memory = readable_message(error).starts_with("out of memory");
    return report(error, memory ? kUserError : kBug);
  }
}

}  // namespace resflow::cli
