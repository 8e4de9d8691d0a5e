// resflow compare DATA -o DIR
#include <fmt/format.h>

#include <cstdio>

#include "command.h"
#include "resflow/compare/compare.h"
#include "resflow/core/log.h"

namespace resflow::cli {
namespace {

struct State {
  std::string data;
  bool json = false, through = false;
  compare::CompareOptions compare;
  restore::ModelOptions model;
  restore::RestoreOptions restore;
  search::SearchOptions search{.strategy = "resflow"};
};

void print_table(const Json& report) {
  std::string line = fmt::format("{:<22}", "");
  for (const auto& [metric, higher] : report["higher_is_better"].items()) line += fmt::format(" {:>10}", metric + (higher.get<bool>() ? " +" : " -"));
  std::printf("%s %9s\n", line.c_str(), "seconds");
  for (const auto& way : report["ways"]) {
    line = fmt::format("{:<22}", way["name"].get<std::string>());
    for (const auto& [metric, higher] : report["higher_is_better"].items()) {
      const Json value = way["mean"].value(metric, Json());
      line += value.is_number() ? fmt::format(" {:>10.4f}", value.get<double>()) : fmt::format(" {:>10}", "-");
    }
    std::printf("%s %9.2f\n", line.c_str(), way["seconds"].get<double>());
  }
  std::printf("+ higher is better, - lower is better; means over %s pictures\n", report["pictures"].dump().c_str());
}

int run(const State& state) {
  check_fields(state.model);
  const auto report = compare::compare(state.data, state.compare, state.model, state.restore, state.search, state.through,
                                       {.on_progress = progress_printer(""), .stop = interrupted()});
  end_progress();
  if (state.json)
    std::printf("%s\n", report.dump(2).c_str());
  else
    print_table(report);
  log_info(fmt::format("page: {0}/index.html   sheet: {0}/sheet.png", state.compare.output));
  return kGood;
}

}  // namespace

std::function<int()> command_compare(CLI::App& app) {
  auto state = std::make_shared<State>();
  app.add_option("data", state->data, "Folder with lq/, the poor pictures, and hq/, the true ones");
  app.add_option("-o,--output", state->compare.output, "Folder of the results, the page (index.html), the sheet and compare.json")->required();
  app.add_flag("--json", state->json, "Print everything as JSON");
  app.add_flag("--through", state->through,
               "With --dr-file: also that network's picture mixed with the model's remover's, and the flow from the mixture");
  add_options(app, state->compare, "", "Comparing");
  add_options(app, state->restore, "", "Restoring");
  add_options(app, state->search, "", "Search");
  add_options(app, state->model, "", "Model");
  app.get_option("--lora")->allow_extra_args(false);  // the next word may be a picture
  app.footer(
      "Examples:\n  resflow compare dev/ -o compared/ --dr-file real-esrgan --candidates 4\n"
      "  resflow compare --lq scans/ -o compared/ --pictures 8          # without true pictures: what needs none\n"
      "Stopped? The same command goes on.");
  return [state] { return run(*state); };
}

}  // namespace resflow::cli
