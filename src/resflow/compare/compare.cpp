#include "resflow/compare/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>

#include "resflow/compare/page.h"
#include "resflow/core/files.h"
#include "resflow/eval/runner.h"
#include "resflow/restore/batch.h"
#include "resflow/restore/journal.h"
#include "resflow/rewards/feature_distance.h"

namespace resflow::compare {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTruth = "truth";

// One way of restoring: its name, what it is, and its options; none for bicubic.
struct Way {
  std::string name, what;
  bool other_remover = false;
  std::optional<restore::RestoreOptions> restore;
  search::SearchOptions search;
};

std::vector<Way> ways_of(const restore::ModelOptions& model, restore::RestoreOptions restore, const search::SearchOptions& search, bool through) {
  auto alone = restore;
  alone.strength = 0;
  auto whole = alone;
  whole.reference_mix = 1;
  search::SearchOptions none = search;
  none.strategy = "none";
  search::SearchOptions searching = search;
  if (searching.strategy == "none") searching.strategy = "resflow";
  std::vector<Way> ways = {{.name = "bicubic", .what = "enlarged, nothing more"}};
  if (!model.dr_file.empty()) ways.push_back({"real-esrgan", "the network of --dr-file alone", true, whole, none});
  ways.push_back({"remover", "the model's degradation remover alone", false, alone, none});
  ways.push_back({"plain", "the model, sampled once", false, restore, none});
  if (!model.dr_file.empty() && through) {
    ways.push_back({"mixed", fmt::format("{} of the network of --dr-file, the rest the model's remover", restore.reference_mix), true, alone, none});
    ways.push_back({"flow-from-mixed", "the flow, from that mixture", true, restore, none});
  }
  ways.push_back(
      {"search", fmt::format("the model, searched: {}, {} candidates", searching.strategy, searching.candidates), false, restore, searching});
  return ways;
}

fs::path folder_of(const std::string& named, const fs::path& data, const char* below, bool needed) {
  const fs::path folder = named.empty() ? data / below : fs::path(named);
  if (fs::is_directory(folder)) return folder;
  if (!needed && named.empty()) return {};
  throw_user_error({.where = "compare",
                    .problem = folder.string() + ": no such folder",
                    .wanted = "a folder with lq/, the poor pictures, and where there are any hq/, the true ones of the same names",
                    .hint = "Or name them: --lq DIR --hq DIR"});
}

class Comparison {
 public:
  Comparison(const fs::path& data, const CompareOptions& options, const Job& job) : options_(options), job_(job), output_(options.output) {
    check_fields(options);
    if (options.output.empty()) throw_user_error({.where = "compare", .problem = "nowhere to write to", .wanted = "-o DIR"});
    poor_ = restore::list_pictures({folder_of(options.poor, data, "lq", true).string()});
    if (options.pictures > 0 && static_cast<int64_t>(poor_.size()) > options.pictures) poor_.resize(static_cast<size_t>(options.pictures));
    const auto references = folder_of(options.references, data, "hq", false);
    if (!references.empty())
      for (const auto& file : restore::list_pictures({references.string()})) references_[file.stem()] = file;
    for (const auto& file : poor_)
      if (!references_.empty() && !references_.contains(file.stem()))
        throw_user_error({.where = "compare",
                          .problem = fmt::format("{}: no true picture of that name", file.string()),
                          .wanted = "one in " + references.string()});
    create_folder(output_);
  }

  // The enlargement that the first pair has.
  void choose_scale(restore::RestoreOptions& restore) const {
    if (restore.scale > 0 || restore.width > 0 || restore.height > 0 || references_.empty()) return;
    restore.scale =
        static_cast<double>(image::probe(references_.at(poor_.front().stem())).width) / static_cast<double>(image::probe(poor_.front()).width);
  }

  // -> seconds of a picture
  double make(const Way& way, const restore::Restorer& restorer, const restore::RestoreOptions& restore) const {
    check_folder(output_ / way.name);
    if (!way.restore) return enlarge(way, restore);
    restore::BatchOptions batch{.restore = *way.restore, .search = way.search};
    std::vector<restore::BatchItem> items;
    for (const auto& file : poor_) items.push_back({.input = file, .output = result(way.name, file)});
    batch.journal = restore::journal_path(output_ / way.name);
    create_folder(output_ / way.name);
    const auto made = restore::run_batch(restorer, items, batch, told(way), [](const Json& entry) {
      if (entry.contains("error")) throw UserError(entry["error"].get<std::string>());
    });
    job_.throw_if_stopped();  // what a search that was stopped has given is not its best
    double seconds = 0;
    for (const auto& item : made.items) seconds += item.value("seconds", 0.0);
    return seconds / static_cast<double>(poor_.size());
  }

  Json measure(const Way& way, Json& higher_is_better) const {
    eval::EvalOptions asked{.pred = (output_ / way.name).string(), .metrics = options_.metrics};
    const auto pairs = reference_folder();
    if (!pairs.empty()) asked.ref = pairs.string();
    const auto report = eval::evaluate(asked, {.on_progress = {}, .stop = job_.stop});
    Json out = {{"mean", Json::object()}, {"files", Json::array()}};
    for (const auto& row : report.rows) {
      Json file = {{"name", row.name}};
      for (const auto& [metric, value] : row.scores) file[metric] = value;
      out["files"].push_back(file);
    }
    for (const auto& metric : report.picture_metrics())
      if (const auto mean = report.mean(metric)) out["mean"][metric] = *mean;
    for (const auto& [metric, value] : report.sets) out["mean"][metric] = value;
    for (const auto& [metric, higher] : report.higher_is_better) higher_is_better[metric] = higher;
    return out;
  }

  void add_feature_distance(const Way& way, Json& told, Json& higher_is_better) const {
    if (options_.feature_network.empty() || references_.empty()) return;
    if (!features_) features_ = rewards::FeatureDistance::load(options_.feature_network);
    c10::InferenceMode inference;
    double sum = 0;
    for (auto& file : told["files"]) {
      job_.throw_if_stopped();
      const auto pixels = [](const fs::path& path) { return image::read_picture(path).pixels.unsqueeze(0); };
      const std::string name = file["name"];
      file["feature"] = features_->distance(pixels(output_ / way.name / (name + ".png")), pixels(references_.at(name))).item<double>();
      sum += file["feature"].get<double>();
    }
    told["mean"]["feature"] = sum / static_cast<double>(poor_.size());
    higher_is_better["feature"] = false;
  }

  std::vector<ShownPicture> shown(const std::vector<Way>& ways) const {
    std::vector<ShownPicture> out;
    for (const auto& file : poor_) {
      if (static_cast<int64_t>(out.size()) == options_.shown) break;
      auto& picture = out.emplace_back(ShownPicture{.name = file.stem()});
      for (const auto& way : ways) picture.files.emplace_back(way.name, result(way.name, file));
      if (!references_.empty()) picture.files.emplace_back(kTruth, references_.at(file.stem()));
    }
    return out;
  }

  size_t pictures() const { return poor_.size(); }

 private:
  fs::path result(const std::string& way, const fs::path& source) const { return output_ / way / (source.stem().string() + ".png"); }

  // `resflow eval` measures a folder as a whole.
  void check_folder(const fs::path& folder) const {
    if (!fs::is_directory(folder)) return;
    for (const auto& item : fs::directory_iterator(folder))
      if (item.path().extension() == ".png" &&
          std::none_of(poor_.begin(), poor_.end(), [&](const auto& file) { return file.stem() == item.path().stem(); }))
        throw_user_error({.where = "compare",
                          .problem = item.path().string() + ": a result of another comparison",
                          .hint = "Choose another folder, or empty this one"});
  }

  Job told(const Way& way) const {
    return {.on_progress =
                [this, name = way.name](Progress progress) {
                  progress.stage = name + ", " + progress.stage;
                  job_.report(progress);
                },
            .stop = job_.stop};
  }

  double enlarge(const Way& way, const restore::RestoreOptions& restore) const {
    create_folder(output_ / way.name);
    for (const auto& file : poor_) {
      job_.throw_if_stopped();
      image::Picture picture = image::read_picture(file);
      const auto size = restore::target_size(restore, {.width = picture.pixels.size(2), .height = picture.pixels.size(1)});
      picture.pixels = image::resize(picture.pixels, size.height, size.width).clamp_(0, 1);
      picture.alpha = Tensor();
      image::write_picture(result(way.name, file), picture);
    }
    return 0;
  }

  // The true pictures of those that are compared: `resflow eval` wants a partner for each. Links, made anew.
  fs::path reference_folder() const {
    if (references_.empty()) return {};
    const fs::path folder = output_ / kTruth;
    fs::remove_all(folder);
    create_folder(folder);
    for (const auto& file : poor_) {
      const auto& truth = references_.at(file.stem());
      fs::create_symlink(fs::absolute(truth), folder / truth.filename());
    }
    return folder;
  }

  const CompareOptions& options_;
  const Job& job_;
  fs::path output_;
  std::vector<fs::path> poor_;
  std::map<std::string, fs::path> references_;  // by stem
  mutable std::optional<rewards::FeatureDistance> features_;
};

}  // namespace

Json compare(const fs::path& data, const CompareOptions& options, const restore::ModelOptions& model, const restore::RestoreOptions& asked,
             const search::SearchOptions& search, bool through, const Job& job) {
  const Comparison comparison(data, options, job);
  restore::RestoreOptions restore = asked;
  comparison.choose_scale(restore);
  restore::check_options(restore);
  const auto ways = ways_of(model, restore, search, through);
  restore::ModelOptions own = model;
  own.dr_file.clear();
  const restore::Restorer restorer(own);
  std::optional<restore::Restorer> other;
  if (!model.dr_file.empty()) other.emplace(model);
  Json report = {{"format", "resflow-compare-1"},
                 {"pictures", comparison.pictures()},
                 {"model", {{"name", model.model}, {"fingerprint", restorer.fingerprint()}}},
                 {"restore", fields_to_json(restore)},
                 {"search", fields_to_json(ways.back().search)},
                 {"higher_is_better", Json::object()},
                 {"ways", Json::array()}};
  if (other) report["remover"] = other->remover()->told();
  for (const auto& way : ways) {
    const double seconds = comparison.make(way, way.other_remover ? *other : restorer, restore);
    Json told = comparison.measure(way, report["higher_is_better"]);
    comparison.add_feature_distance(way, told, report["higher_is_better"]);
    told.update({{"name", way.name}, {"what", way.what}, {"seconds", seconds}});
    report["ways"].push_back(std::move(told));
  }
  const auto shown = comparison.shown(ways);
  const fs::path output(options.output);
  write_sheet(output / "sheet.png", shown, options.cell);
  write_page(output / "index.html", report, shown, options.window);
  write_text_atomically(output / "compare.json", report.dump(2) + "\n");
  return report;
}

}  // namespace resflow::compare
