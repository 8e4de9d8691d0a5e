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

std::vector<Judge> chosen_judges(const EvalOptions& options) {
  std::vector<Judge> judges;
  for (const auto& name : options.metrics.empty() ? rewards::metrics().names() : options.metrics) {
    auto metric = rewards::metrics().make(name);
    if (metric->needs_reference() && options.ref.empty()) {
      if (options.metrics.empty()) continue;
      throw_user_error({.where = name, .problem = "this metric compares with a reference", .wanted = "a folder of references (ref)", .got = "none"});
    }
    judges.push_back({name, std::move(metric)});
  }
  return judges;
}

Tensor read_batch(const fs::path& path) { return image::read_picture(path).pixels.unsqueeze(0); }  // [1, 3, H, W]

}  // namespace

EvalReport evaluate(const EvalOptions& options, const Job& job) {
  check_fields(options);
  if (options.pred.empty()) throw_user_error({.where = "pred", .problem = "nothing to score", .wanted = "a folder of pictures, or one picture"});
  const auto judges = chosen_judges(options);
  const auto predictions = pictures_in(options.pred);
  std::map<std::string, fs::path> references;
  if (!options.ref.empty()) {
    references = pictures_in(options.ref);
    // Two single files are a pair whatever their names.
    if (!fs::is_directory(options.pred) && !fs::is_directory(options.ref)) references = {{predictions.begin()->first, options.ref}};
    require_partners(predictions, references, options.pred, "pictures have no reference");
    require_partners(references, predictions, options.ref, "references have no picture to score");
  }

  EvalReport report{.options = options};
  report.options.metrics.clear();
  for (const auto& judge : judges) report.options.metrics.push_back(judge.name);
  const auto total = static_cast<int64_t>(predictions.size());
  for (const auto& [name, path] : predictions) {
    job.throw_if_stopped();
    job.report({.stage = "eval", .done = static_cast<int64_t>(report.rows.size()), .of = total});
    const auto prediction = read_batch(path);
    Tensor reference;
    if (!options.ref.empty()) {
      reference = read_batch(references.at(name));
      if (reference.sizes() != prediction.sizes())
        throw_user_error({.where = path.string(),
                          .problem = "not of its reference's size",
                          .wanted = fmt::format("{}x{} as {}", reference.size(3), reference.size(2), references.at(name).string()),
                          .got = fmt::format("{}x{}", prediction.size(3), prediction.size(2))});
    }
    EvalRow row{.name = name};
    for (const auto& judge : judges) {
      try {
        row.scores[judge.name] = judge.metric->score(prediction, reference, {.luma = options.luma, .crop_border = options.crop_border});
      } catch (const UserError& error) {
        report.notes.push_back(fmt::format("{}: no {}: {}", path.filename().string(), judge.name, error.what()));
      }
    }
    report.rows.push_back(std::move(row));
  }
  job.report({.stage = "eval", .done = total, .of = total});
  return report;
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
  for (const auto& metric : options.metrics) {
    const auto average = mean(metric);
    json["mean"][metric] = average ? Json(*average) : Json();
    json["scored"][metric] = std::count_if(rows.begin(), rows.end(), [&](const EvalRow& row) { return row.scores.contains(metric); });
    json["higher_is_better"][metric] = rewards::metrics().make(metric)->higher_is_better();
  }
  json["files"] = Json::array();
  for (const auto& row : rows) {
    Json file = {{"name", row.name}};
    for (const auto& metric : options.metrics) {
      const auto found = row.scores.find(metric);
      file[metric] = found == row.scores.end() ? Json() : Json(found->second);
    }
    json["files"].push_back(std::move(file));
  }
  json["notes"] = notes;
  return json;
}

}  // namespace resflow::eval
