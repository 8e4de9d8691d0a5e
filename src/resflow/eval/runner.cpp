#include "resflow/eval/runner.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <memory>

#include "resflow/core/error.h"
#include "resflow/image/codec.h"
#include "resflow/rewards/set_metric.h"

namespace resflow::eval {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNamesShown = 5;

bool is_picture(const fs::path& path) {
  constexpr std::array<std::string_view, 13> known = {".png",  ".jpg",  ".jpeg", ".webp", ".tif", ".tiff", ".avif",
                                                      ".heic", ".heif", ".jxl",  ".gif",  ".bmp", ".ppm"};
  auto extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(known.begin(), known.end(), extension) != known.end();
}

// Name without extension -> file.
std::map<std::string, fs::path> pictures_in(const fs::path& folder) {
  if (!fs::exists(folder)) throw_user_error({.where = folder.string(), .problem = "not found", .wanted = "a folder of pictures, or one picture"});
  if (!fs::is_directory(folder)) return {{folder.stem().string(), folder}};
  std::map<std::string, fs::path> found;
  for (const auto& item : fs::directory_iterator(folder)) {
    if (!item.is_regular_file() || !is_picture(item.path())) continue;
    const auto [place, added] = found.emplace(item.path().stem().string(), item.path());
    if (!added)
      throw_user_error({.where = folder.string(),
                        .problem = "two pictures of one name",
                        .wanted = "names that differ in more than the extension",
                        .got = place->second.filename().string() + " and " + item.path().filename().string()});
  }
  if (found.empty()) throw_user_error({.where = folder.string(), .problem = "no pictures in this folder"});
  return found;
}

// Every picture needs a partner on the other side: a mean over a part would look like a mean over all.
void require_partners(const std::map<std::string, fs::path>& these, const std::map<std::string, fs::path>& those, const std::string& where,
                      const std::string& problem) {
  std::vector<std::string> alone;
  for (const auto& [name, path] : these)
    if (!those.contains(name)) alone.push_back(path.filename().string());
  if (alone.empty()) return;
  const auto count = alone.size();
  alone.resize(std::min(count, kNamesShown));
  throw_user_error(
      {.where = where,
       .problem = fmt::format("{} of {} {}: {}{}", count, these.size(), problem, fmt::join(alone, ", "), count > kNamesShown ? ", ..." : ""),
       .hint = "Files are matched by their names without extension"});
}

struct Judge {
  std::string name;
  std::unique_ptr<rewards::Metric> metric;
};
struct SetJudge {
  std::string name;
  std::unique_ptr<rewards::SetMetric> metric;
  std::vector<Tensor> predictions, references;  // features [F], a picture each
};
struct Judges {
  std::vector<Judge> of_pictures;
  std::vector<SetJudge> of_sets;
};

bool is_of_sets(const std::string& name) {
  const auto names = rewards::set_metrics().names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

Judges chosen_judges(const EvalOptions& options) {
  Judges judges;
  const auto require_reference = [&](const std::string& name) {
    if (options.ref.empty())
      throw_user_error({.where = name, .problem = "this metric compares with a reference", .wanted = "a folder of references (ref)", .got = "none"});
  };
  for (const auto& name : options.metrics.empty() ? rewards::shipped_metrics() : options.metrics) {
    if (is_of_sets(name)) {
      require_reference(name);
      judges.of_sets.push_back({.name = name, .metric = rewards::set_metrics().make(name)});
      continue;
    }
    auto metric = rewards::metrics().make(name);
    if (metric->needs_reference() && options.ref.empty() && options.metrics.empty()) continue;
    if (metric->needs_reference()) require_reference(name);
    judges.of_pictures.push_back({name, std::move(metric)});
  }
  return judges;
}

// What is compared, by name. In pairs, both sides have the same names.
struct Folders {
  std::map<std::string, fs::path> predictions, references;
  bool in_pairs = false;
};

Folders folders_of(const EvalOptions& options, const Judges& judges) {
  Folders out{.predictions = pictures_in(options.pred)};
  if (options.ref.empty()) return out;
  out.references = pictures_in(options.ref);
  out.in_pairs = !judges.of_pictures.empty();
  if (!out.in_pairs) return out;
  // Two single files are a pair whatever their names.
  if (!fs::is_directory(options.pred) && !fs::is_directory(options.ref)) out.references = {{out.predictions.begin()->first, options.ref}};
  require_partners(out.predictions, out.references, options.pred, "pictures have no reference");
  require_partners(out.references, out.predictions, options.ref, "references have no picture to score");
  return out;
}

Tensor read_batch(const fs::path& path) { return image::read_picture(path).pixels.unsqueeze(0); }  // [1, 3, H, W]

Tensor read_reference(const fs::path& path, const fs::path& of, const Tensor& prediction) {
  auto reference = read_batch(path);
  if (reference.sizes() != prediction.sizes())
    throw_user_error({.where = of.string(),
                      .problem = "not of its reference's size",
                      .wanted = fmt::format("{}x{} as {}", reference.size(3), reference.size(2), path.string()),
                      .got = fmt::format("{}x{}", prediction.size(3), prediction.size(2))});
  return reference;
}

void remember(std::vector<SetJudge>& judges, const Tensor& image, std::vector<Tensor> SetJudge::*side) {
  for (auto& judge : judges) (judge.*side).push_back(judge.metric->features(image));
}

}  // namespace

std::vector<std::string> metric_names() {
  auto names = rewards::metrics().names();
  for (const auto& name : rewards::set_metrics().names()) names.push_back(name);
  return names;
}

EvalReport evaluate(const EvalOptions& options, const Job& job) {
  check_fields(options);
  if (options.pred.empty()) throw_user_error({.where = "pred", .problem = "nothing to score", .wanted = "a folder of pictures, or one picture"});
  auto judges = chosen_judges(options);
  const auto folders = folders_of(options, judges);

  EvalReport report{.options = options};
  report.options.metrics.clear();
  for (const auto& judge : judges.of_pictures) report.higher_is_better[judge.name] = judge.metric->higher_is_better();
  for (const auto& judge : judges.of_sets) report.higher_is_better[judge.name] = judge.metric->higher_is_better();
  for (const auto& name : options.metrics.empty() ? rewards::shipped_metrics() : options.metrics)
    if (report.higher_is_better.contains(name)) report.options.metrics.push_back(name);

  // References without partners are looked at by themselves, for the metrics of sets alone.
  const auto total = static_cast<int64_t>(folders.predictions.size() + (folders.in_pairs ? 0 : folders.references.size()));
  int64_t done = 0;
  const auto next = [&] {
    job.throw_if_stopped();
    job.report({.stage = "eval", .done = done++, .of = total});
  };
  for (const auto& [name, path] : folders.predictions) {
    next();
    const auto prediction = read_batch(path);
    const auto reference = folders.in_pairs ? read_reference(folders.references.at(name), path, prediction) : Tensor();
    remember(judges.of_sets, prediction, &SetJudge::predictions);
    if (folders.in_pairs) remember(judges.of_sets, reference, &SetJudge::references);
    EvalRow row{.name = name};
    for (const auto& judge : judges.of_pictures) {
      try {
        row.scores[judge.name] = judge.metric->score(prediction, reference, {.luma = options.luma, .crop_border = options.crop_border});
      } catch (const UserError& error) {
        report.notes.push_back(fmt::format("{}: no {}: {}", path.filename().string(), judge.name, error.what()));
      }
    }
    report.rows.push_back(std::move(row));
  }
  if (!folders.in_pairs)
    for (const auto& [name, path] : folders.references) {
      next();
      remember(judges.of_sets, read_batch(path), &SetJudge::references);
    }
  for (const auto& judge : judges.of_sets)
    report.sets[judge.name] = judge.metric->distance(at::stack(judge.predictions), at::stack(judge.references));
  job.report({.stage = "eval", .done = total, .of = total});
  return report;
}

std::vector<std::string> EvalReport::picture_metrics() const {
  std::vector<std::string> names;
  for (const auto& name : options.metrics)
    if (!sets.contains(name)) names.push_back(name);
  return names;
}

std::optional<double> EvalReport::mean(const std::string& metric) const {
  double sum = 0;
  int64_t count = 0;
  for (const auto& row : rows) {
    const auto found = row.scores.find(metric);
    if (found == row.scores.end()) continue;
    sum += found->second;
    ++count;
  }
  return count == 0 ? std::nullopt : std::optional(sum / static_cast<double>(count));
}

Json EvalReport::to_json() const {
  Json json = {{"options", fields_to_json(options)}, {"count", rows.size()}};
  for (const auto& metric : picture_metrics()) {
    const auto average = mean(metric);
    json["mean"][metric] = average ? Json(*average) : Json();
    json["scored"][metric] = std::count_if(rows.begin(), rows.end(), [&](const EvalRow& row) { return row.scores.contains(metric); });
  }
  for (const auto& [metric, value] : sets) json["sets"][metric] = value;
  for (const auto& metric : options.metrics) json["higher_is_better"][metric] = higher_is_better.at(metric);
  json["files"] = Json::array();
  for (const auto& row : rows) {
    Json file = {{"name", row.name}};
    for (const auto& metric : picture_metrics()) {
      const auto found = row.scores.find(metric);
      file[metric] = found == row.scores.end() ? Json() : Json(found->second);
    }
    json["files"].push_back(std::move(file));
  }
  json["notes"] = notes;
  return json;
}

}  // namespace resflow::eval
