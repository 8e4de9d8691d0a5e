// resflow search-report run.json -o report.html | --pick ID -o other.png
#include "command.h"
#include "resflow/core/files.h"
#include "resflow/core/log.h"
#include "resflow/restore/batch.h"
#include "resflow/restore/search_report.h"

namespace resflow::cli {
namespace {

struct State {
  std::string trace, output, pick;
  image::EncodeOptions encode;
};

int run(const State& state) {
  check_fields(state.encode);
  const auto trace = restore::TraceFile::read(state.trace);
  if (state.pick.empty()) {
    if (!image::format_of_extension(state.output).empty())
      throw_user_error({.where = state.output, .problem = "a report is a page", .wanted = "an extension .html, or --pick with a picture"});
    write_text_atomically(state.output, restore::search_report(trace));
    log_info(fmt::format("{} -> {}", state.trace, state.output));
    return kGood;
  }
  if (!image::can_write(image::format_of_extension(state.output)))
    throw_user_error({.where = state.output, .problem = "cannot tell the format to write", .wanted = "an extension .png .jpg .webp .tif .avif"});
  if (trace.content.at("manifest").contains("mask")) log_warn(state.trace + ": the mask of that run is left out");
  const auto restored = restore::pick_candidates(trace, restore::parse_picks(state.pick, trace));
  for (const auto& note : restore::write_restored(state.output, restored, state.encode)) log_warn(note);
  log_info(fmt::format("{} --pick {} -> {}", state.trace, state.pick, state.output));
  return kGood;
}

}  // namespace

std::function<int()> command_search_report(CLI::App& app) {
  auto state = std::make_shared<State>();
  app.add_option("trace", state->trace, "What `resflow restore --search ... --trace` wrote")->required();
  app.add_option("-o,--output", state->output, "The page to write; with --pick the picture")->required();
  app.add_option("--pick", state->pick, "Instead of a report: the result with another finished candidate, ID or TILE:ID, commas between");
  add_options(app, state->encode, "", "Files");
  app.footer(
      "Examples:\n  resflow search-report run.json -o report.html\n  resflow search-report run.json --pick 12 -o other.png\n"
      "  resflow search-report run.json --pick 0:12,3:7 -o other.png");
  return [state] { return run(*state); };
}

}  // namespace resflow::cli
