// resflow eval --pred DIR [--ref DIR] --metrics psnr,lpips,fid
#include <fmt/format.h>

#include <cstdio>

#include "command.h"
#include "resflow/core/log.h"
#include "resflow/eval/runner.h"

namespace resflow::cli {

namespace {

// A row a picture, then the means.
void print_table(const eval::EvalReport& report, const std::vector<std::string>& metrics) {
  size_t widest = 4;
  for (const auto& row : report.rows) widest = std::max(widest, row.name.size());
  std::string line = fmt::format("{:{}}", "", widest);
  for (const auto& metric : metrics) line += fmt::format("  {:>9}", metric);
  std::printf("%s\n", line.c_str());
  const auto cell = [](std::optional<double> value) { return value ? fmt::format("  {:9.4f}", *value) : fmt::format("  {:>9}", "-"); };
  for (const auto& row : report.rows) {
    line = fmt::format("{:{}}", row.name, widest);
    for (const auto& metric : metrics) {
      const auto found = row.scores.find(metric);
      line += cell(found == row.scores.end() ? std::nullopt : std::optional<double>(found->second));
    }
    std::printf("%s\n", line.c_str());
  }
  line = fmt::format("{:{}}", "mean", widest);
  for (const auto& metric : metrics) line += cell(report.mean(metric));
  std::printf("%s\n", line.c_str());
}

}  // namespace

std::function<int()> command_eval(CLI::App& app) {
  struct State {
    eval::EvalOptions options;
    bool json = false;
  };
  auto state = std::make_shared<State>();
  add_options(app, state->options);
  app.add_flag("--json", state->json, "Print everything as JSON");
  app.footer(
      "Examples:\n  resflow eval --pred restored/ --ref originals/ --metrics psnr,ssim,niqe\n"
      "  resflow eval --pred restored/ --ref originals/ --metrics lpips,dists,fid    with files of others: docs/metrics.md");
  return [state] {
    const auto report = eval::evaluate(state->options, {.on_progress = progress_printer(""), .stop = interrupted()});
    end_progress();
    for (const auto& note : report.notes) log_warn(note);
    if (state->json) {
      std::printf("%s\n", report.to_json().dump(2).c_str());
      return static_cast<int>(kGood);
    }
    const auto metrics = report.picture_metrics();
    if (!metrics.empty()) print_table(report, metrics);
    for (const auto& [metric, value] : report.sets) std::printf("%s  %.4f\n", metric.c_str(), value);
    return static_cast<int>(kGood);
  };
}

}  // namespace resflow::cli
