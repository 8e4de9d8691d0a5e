// resflow search-bench IN... --references DIR -o bench.json --plot bench.svg
#include <fmt/format.h>

#include <cstdio>

#include "command.h"
#include "resflow/core/files.h"
#include "resflow/restore/batch.h"
#include "resflow/restore/search_bench.h"

namespace resflow::cli {
namespace {

struct State {
  std::vector<std::string> inputs;
  std::string output, plot;
  restore::ModelOptions model;
  restore::SearchBenchOptions bench;
  restore::RestoreOptions restore;
  search::SearchOptions search;
};

std::string shown(const Json& value, const char* format) { return value.is_number() ? fmt::format(fmt::runtime(format), value.get<double>()) : "-"; }

void print_table(const Json& report) {
  const Json measured = report["runs"][0].value("measures", Json::object());
  std::vector<std::string> measures;
  for (const auto& [name, value] : measured.items()) measures.push_back(name);
  std::string line = fmt::format("{:<12} {:>4} {:>7} {:>8} {:>7} {:>10}", "strategy", "N", "times", "seconds", "gain", "best-of-n");
  for (const auto& name : measures) line += fmt::format(" {:>9}", name);
  std::printf("%s\n", line.c_str());
  for (const auto& run : report["runs"]) {
    line =
        fmt::format("{:<12} {:>4} {:>7} {:>8} {:>7} {:>10}", run["strategy"].get<std::string>(), run["candidates"].dump(),
                    shown(run["times"], "{:.2f}"), shown(run["seconds"], "{:.1f}"), shown(run["gain"], "{:.3f}"), shown(run["best_of_n"], "{:.3f}"));
    for (const auto& name : measures) line += fmt::format(" {:>9}", shown(run["measures"].value(name, Json()), "{:.4f}"));
    std::printf("%s\n", line.c_str());
  }
}

int run(const State& state) {
  check_fields(state.model);
  restore::check_options(state.restore);
  const auto sources = restore::list_pictures(state.inputs);
  const restore::Restorer restorer(state.model);
  const auto report = restore::bench_search(restorer, sources, state.bench, state.restore, state.search,
                                            {.on_progress = progress_printer("search-bench"), .stop = interrupted()});
  end_progress();
  if (!state.output.empty()) write_text_atomically(state.output, report.dump(2) + "\n");
  if (!state.plot.empty()) write_text_atomically(state.plot, restore::bench_plot(report));
  print_table(report);
  return kGood;
}

}  // namespace

std::function<int()> command_search_bench(CLI::App& app) {
  auto state = std::make_shared<State>();
  app.add_option("inputs", state->inputs, "Pictures, folders of pictures, globs")->required();
  app.add_option("-o,--output", state->output, "Write the whole report to this JSON file");
  app.add_option("--plot", state->plot, "Draw gain over cost into this SVG file");
  add_options(app, state->bench, "", "Bench");
  add_options(app, state->restore, "", "Restoring");
  add_options(app, state->search, "", "Search (--search and --candidates are the bench's own: --strategies, --sizes)");
  add_options(app, state->model, "", "Model");
  app.get_option("--lora")->allow_extra_args(false);  // the next word may be a picture
  app.footer(
      "Example:\n  resflow search-bench poor/ --references true/ --scale 4 --strategies best-of-n,resflow --sizes 2,4,8 -o bench.json --plot "
      "bench.svg");
  return [state] { return run(*state); };
}

}  // namespace resflow::cli
