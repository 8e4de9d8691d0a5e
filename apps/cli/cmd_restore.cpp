// resflow restore IN... -o OUT
#include <fmt/format.h>

#include <cstdio>

#include "command.h"
#include "recorded.h"
#include "resflow/core/log.h"
#include "resflow/restore/batch.h"
#include "resflow/restore/journal.h"
#include "resflow/restore/model_name.h"
#include "resflow/restore/trace_files.h"
#include "resflow/restore/watch.h"

namespace resflow::cli {
namespace {

struct State {
  std::vector<std::string> inputs;
  std::string output, like, compare, change_map, mask, trace, log;
  bool json = false, recursive = false, skip_existing = false, journal = true, watch = false;
  restore::ModelOptions model;
  restore::BatchOptions batch;
};

void print_item(const Json& entry) {
  if (entry.contains("error")) {
    log_warn(entry["error"].get<std::string>());
    return;
  }
  if (entry.contains("skipped")) return;
  for (const auto& note : entry.value("notes", std::vector<std::string>{})) log_warn(entry["input"].get<std::string>() + ": " + note);
  const auto& result = entry["result"];
  log_info(fmt::format("{} -> {}  {}x{}, {:.1f} s", entry["input"].get<std::string>(), entry["output"].get<std::string>(), result["width"].dump(),
                       result["height"].dump(), entry["seconds"].get<double>()));
}

// A picture beside the result: --compare, --change-map.
void check_beside(const std::string& option, const std::filesystem::path& path, const std::vector<restore::BatchItem>& items) {
  if (path.empty()) return;
  if (!image::can_write(image::format_of_extension(path)))
    throw_user_error({.where = path.string(), .problem = "cannot tell the format to write", .wanted = "an extension .png .jpg .webp .tif .avif"});
  std::error_code ignored;
  for (const auto& taken : {items[0].input, items[0].output})
    if (std::filesystem::weakly_canonical(path, ignored) == std::filesystem::weakly_canonical(taken, ignored))
      throw_user_error({.where = path.string(), .problem = option + " would replace " + taken.string(), .hint = "Choose another name"});
}

// What is meant for one picture.
void check_single(const State& state, const std::vector<restore::BatchItem>& items) {
  for (const auto& [option, value] : {std::pair{"--compare", &state.compare}, {"--change-map", &state.change_map}, {"--mask", &state.mask}}) {
    if (value->empty()) continue;
    if (state.watch) throw_user_error({.where = option, .problem = "not together with --watch"});
    if (items.size() != 1)
      throw_user_error({.where = option, .problem = "several pictures", .wanted = "one input", .got = std::to_string(items.size())});
  }
  check_beside("--compare", state.compare, items);
  check_beside("--change-map", state.change_map, items);
}

void check_trace(const State& state) {
  if (!state.trace.empty() && state.batch.search.strategy == "none")
    throw_user_error({.where = "--trace", .problem = "nothing is searched", .hint = "Add --search resflow"});
}

// Goes on until it is stopped: that is how it ends.
int watch(const State& state, const restore::Restorer& restorer, const Job& job, const std::function<void(const Json&)>& on_item) {
  const restore::WatchOptions options{
      .inputs = state.inputs, .output = state.output, .format = state.batch.encode.format, .recursive = state.recursive};
  log_info(fmt::format("watching {} folder{}; Ctrl-C ends it", state.inputs.size(), state.inputs.size() == 1 ? "" : "s"));
  restore::watch(restorer, options, state.batch, job, on_item);
  return kGood;
}

// --like: what the command line leaves open is as that picture's manifest has it.
void take_options_of(const CLI::App& app, State& state) {
  const Json manifest = recorded_manifest(state.like);
  const Json& options = manifest["options"];
  // A size that is given replaces the one that was, however either is said.
  const bool sized = app.count("--scale") + app.count("--width") + app.count("--height") > 0;
  take_recorded(app, state.batch.restore, options, sized ? std::vector<std::string>{"scale", "width", "height"} : std::vector<std::string>{});
  take_recorded(app, state.batch.search, options);
  const bool named = !image::format_of_extension(state.output).empty();  // then the format is said by the name
  take_recorded(app, state.batch.encode, manifest.value("files", Json::object()),
                named ? std::vector<std::string>{"format"} : std::vector<std::string>{});
  const Json model = manifest.value("model", Json::object());
  take_recorded(app, state.model, {{"model", model.value("name", "compact")}, {"dtype", model.value("dtype", "auto")}});
  if (state.mask.empty() && manifest.contains("mask"))
    log_warn(state.like + ": a mask was used (" + manifest["mask"].dump() + "), which it does not hold: add --mask");
  if (manifest.contains("picked")) log_warn(state.like + ": candidates were chosen by hand: the search's own choice is made here");
}

void check_same_model(const State& state, const restore::Restorer& restorer) {
  const std::string then = recorded_manifest(state.like).value("model", Json::object()).value("fingerprint", "");
  if (!then.empty() && then != restorer.fingerprint())
    log_warn(state.like + ": was made with other weights (" + then + "; now " + restorer.fingerprint() + "): the result will differ");
}

int run(const CLI::App& app, State& state) {
  if (!state.like.empty()) take_options_of(app, state);
  check_fields(state.model);
  check_fields(state.batch.captions);
  restore::check_options(state.batch.restore);
  search::check_search(state.batch.search);
  check_fields(state.batch.encode);
  check_fields(state.batch.limits);
  check_trace(state);
  const std::string& format = state.batch.encode.format;
  std::vector<restore::BatchItem> items;
  if (state.watch) {
    restore::check_watch(state.inputs, state.output);
  } else {
    const auto found = restore::find_pictures(state.inputs, {.recursive = state.recursive, .skip = state.output});
    items = restore::plan_batch(found, state.inputs, state.output, format);
  }
  check_single(state, items);
  // Only the folder's names depend on --format; a file's format is its extension.
  if (items.size() == 1 && items[0].output == std::filesystem::path(state.output)) {
    if (format != "auto" && format != image::format_of_extension(state.output))
      throw_user_error({.where = state.output, .problem = "--format and the file's extension disagree", .wanted = "." + format, .got = state.output});
  }
  restore::prepare_memory(state.model);
  const restore::Restorer restorer(state.model);
  restorer.check(state.batch.restore);
  if (!state.like.empty()) check_same_model(state, restorer);
  const bool captioned = state.batch.restore.caption.empty() && state.batch.captions.captioner != "none";
  restorer.prepare(state.batch.search, captioned ? "a photograph" : state.batch.restore.caption);
  const Job job{.on_progress = progress_printer(""), .stop = interrupted()};
  state.batch.compare = state.compare;
  state.batch.change_map = state.change_map;
  state.batch.mask = state.mask;
  state.batch.trace = state.trace;
  state.batch.log = state.log;
  state.batch.skip_existing = state.skip_existing;
  // A single named result is made anew each time; a folder's are kept account of.
  const bool into_folder = state.watch || items.size() > 1 || items[0].output != std::filesystem::path(state.output);
  if (state.journal && into_folder) state.batch.journal = restore::journal_path(state.output);
  const auto on_item = [](const Json& entry) {
    end_progress();
    print_item(entry);
  };
  if (state.watch) return watch(state, restorer, job, on_item);
  const auto result = restore::run_batch(restorer, items, state.batch, job, on_item);
  if (result.skipped > 0)
    log_info(fmt::format("{} of {} pictures left out: their results are there{}", result.skipped, items.size(),
                         state.batch.journal.empty() ? "" : " (--no-journal makes them anew)"));
  if (state.json)
    std::printf("%s\n", Json({{"items", result.items}, {"failed", result.failed}, {"skipped", result.skipped}})
                            .dump(2, ' ', false, Json::error_handler_t::replace)
                            .c_str());
  if (interrupted().stop_requested()) return kCancelled;  // a search that was stopped has given its best so far
  if (result.failed == 0) return kGood;
  if (items.size() > 1) {
    std::fprintf(stderr, "resflow: %lld of %zu pictures failed:\n", static_cast<long long>(result.failed), items.size());
    for (const auto& entry : result.items)
      if (entry.contains("error")) std::fprintf(stderr, "  %s\n", entry["input"].get<std::string>().c_str());
    return kSomeFailed;
  }
  return kUserError;  // the one picture that was asked for
}

}  // namespace

std::function<int()> command_restore(CLI::App& app) {
  auto state = std::make_shared<State>();
  app.add_option("inputs", state->inputs, "Pictures, folders of pictures, globs")->required();
  app.add_option("-o,--output", state->output, "A file, or a folder (kept stems)")->required();
  app.add_option("--like", state->like, "A picture that resflow made: the same options again, but for those given here");
  app.add_option("--compare", state->compare, "Also write source and result side by side to this file");
  app.add_option("--change-map", state->change_map, "Also write where the result departs from the source, as a heat map");
  app.add_option("--mask", state->mask, "Picture of the same shape: white places are restored, black ones only enlarged");
  app.add_flag("--json", state->json, "Print what was done as JSON");
  app.add_flag("-r,--recursive", state->recursive, "Folders' subfolders too; the results keep their structure");
  app.add_flag("--skip-existing", state->skip_existing, "Leave out pictures whose result is there, whatever made it");
  app.add_flag("--journal,!--no-journal", state->journal,
               "Keep account of a folder's results in it, so that the same command goes on where a crash ended it (default: on)");
  app.add_option("--log", state->log, "Append a JSON line for each picture to this file");
  app.add_flag("--watch", state->watch, "Keep watching the folders, and restore what is put into them, until Ctrl-C");
  app.add_option("--trace", state->trace, "Write what the search did to this JSON file (several pictures: a folder)");
  app.add_option("--trace-pictures", state->batch.trace_pictures,
                 "Beside the trace: nothing, small pictures of all candidates, or also the finished ones whole, for `resflow search-report --pick`")
      ->capture_default_str()
      ->check(CLI::IsMember(restore::trace_picture_names()));
  add_options(app, state->batch.restore, "", "Restoring");
  add_options(app, state->batch.search, "", "Search");
  app.get_option("--time")->transform(CLI::AsNumberWithUnit(std::map<std::string, double>{{"s", 1}, {"m", 60}, {"h", 3600}}));
  add_options(app, state->batch.captions, "", "Captions");
  app.get_option("--caption-url")->envname("OPENAI_BASE_URL");
  add_options(app, state->model, "", "Model");
  app.get_option("--lora")->allow_extra_args(false);  // the next word may be a picture
  add_options(app, state->batch.encode, "", "Files");
  add_options(app, state->batch.limits, "", "Files");
  app.footer(
      "Examples:\n  resflow restore old.jpg -o restored.png\n  resflow restore scans/ -o restored/ --format tiff --scale 2\n"
      "  resflow restore archive/ -o restored/ --recursive --log restored.jsonl     # stopped? The same line goes on\n"
      "  resflow restore inbox/ -o outbox/ --watch\n"
      "  resflow restore 'album/*.jpg' -o out/ --sigma-s 0.3 --seed 7 --steps 8\n"
      "  resflow restore more/ -o restored/ --like restored/first.png             # the options that made that one\n"
      "  resflow restore old.jpg -o best.png --search resflow --candidates 8 --time 60s --trace run.json\n"
      "  resflow restore old.jpg -o flux.png --model black-forest-labs/FLUX.1-dev --adapter runs/ummf --caption \"a harbour\" --scale 2\n"
      "Exit codes: 0 all good, 1 some pictures failed, 2 wrong input or option, 70 bug, 130 cancelled.");
  return [state, &app] { return run(app, *state); };
}

}  // namespace resflow::cli
