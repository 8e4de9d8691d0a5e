#include "resflow/restore/search_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <map>
#include <optional>

#include "resflow/core/files.h"
#include "resflow/image/codec.h"
#include "resflow/restore/batch.h"
#include "resflow/rewards/feature_distance.h"
#include "resflow/rewards/metric.h"

namespace resflow::restore {
namespace {

struct Mean {
  double sum = 0, count = 0;
  void add(double value, double weight = 1) {
    if (!std::isfinite(value)) return;
    sum += weight * value;
    count += weight;
  }
  Json json() const { return count > 0 ? Json(sum / count) : Json(nullptr); }
};

// Mean and standard deviation of the rewards of a tile's plain samples.
struct Scale {
  std::vector<double> mean, deviation;
};

Scale scale_of(const search::Trace& trace) {
  Scale out;
  for (size_t reward = 0; reward < trace.rewards.size(); ++reward) {
    double sum = 0, squares = 0, count = 0;
    for (const auto& candidate : trace.candidates) {
      const double score = candidate.scores[reward];
      if (!candidate.finished || !std::isfinite(score)) continue;
      sum += score;
      squares += score * score;
      ++count;
    }
    const double mean = sum / count;
    out.mean.push_back(mean);
    out.deviation.push_back(std::sqrt(std::max(0.0, squares / count - mean * mean) * count / std::max(count - 1, 1.0)));
  }
  return out;
}

struct Entry {
  std::string strategy;
  int64_t candidates = 1;
  Mean gain, times, seconds;
  std::map<std::string, Mean> gains, measures;

  Json json() const {
    Json out = {{"strategy", strategy}, {"candidates", candidates}, {"gain", gain.json()}, {"times", times.json()}, {"seconds", seconds.json()}};
    for (const auto& [name, mean] : gains) out["gains"][name] = mean.json();
    for (const auto& [name, mean] : measures) out["measures"][name] = mean.json();
    return out;
  }
};

class Measures {
 public:
  explicit Measures(const SearchBenchOptions& bench) : folder_(bench.references) {
    if (!bench.feature_network.empty()) {
      if (folder_.empty()) throw_user_error({.where = "--feature-network", .problem = "compares with references", .hint = "Add --references"});
      features_ = rewards::FeatureDistance::load(bench.feature_network);
    }
    if (folder_.empty()) return;
    for (const auto& file : list_pictures({bench.references})) files_[file.stem()] = file;
  }

  // Before any work: each picture has its reference, of the result's size. Reads headers only.
  void check(const std::filesystem::path& source, const RestoreOptions& options) const {
    if (folder_.empty()) return;
    const auto found = files_.find(source.stem());
    if (found == files_.end()) throw_user_error({.where = source.string(), .problem = "no reference of that name in " + folder_});
    const auto from = image::probe(source), reference = image::probe(found->second);
    const auto size = target_size(options, {.width = from.width, .height = from.height});
    if (size.width != reference.width || size.height != reference.height)
      throw_user_error({.where = found->second.string(),
                        .problem = "another size than the result",
                        .wanted = fmt::format("{}x{}", size.width, size.height),
                        .got = fmt::format("{}x{}", reference.width, reference.height),
                        .hint = "Set --scale"});
  }

  // The reference of a picture; nullopt where none is asked for.
  std::optional<Tensor> reference(const std::filesystem::path& source) const {
    if (folder_.empty()) return std::nullopt;
    return image::read_picture(files_.at(source.stem())).pixels.unsqueeze(0);
  }

  void add(Entry& entry, const Tensor& result, const std::optional<Tensor>& reference) const {
    for (const std::string name : {"psnr", "ssim", "niqe"}) {
      const auto metric = rewards::metrics().make(name);
      if (metric->needs_reference() && !reference) continue;
      try {
        entry.measures[name].add(metric->score(result, reference.value_or(result)));
      } catch (const UserError&) {  // too small or too flat for it
      }
    }
    if (features_) entry.measures["feature"].add(features_->distance(result, *reference).item<double>());
  }

 private:
  std::string folder_;
  std::map<std::filesystem::path, std::filesystem::path> files_;  // stem -> file
  std::optional<rewards::FeatureDistance> features_;
};

std::vector<double> says(const search::SearchOptions& search) {
  std::vector<double> out = search.reward_weights;
  out.resize(search.rewards.size(), 1.0);
  return out;
}

void add_gains(Entry& entry, const std::vector<SearchedTile>& tiles, const std::vector<Scale>& scales, const std::vector<double>& weights) {
  for (size_t tile = 0; tile < tiles.size(); ++tile) {
    const auto& trace = tiles[tile].trace;
    const auto& winner = trace.candidates.at(static_cast<size_t>(trace.winner));
    Mean gain;
    for (size_t reward = 0; reward < trace.rewards.size(); ++reward) {
      if (!(scales[tile].deviation[reward] > 0)) continue;
      const double z = (winner.scores[reward] - scales[tile].mean[reward]) / scales[tile].deviation[reward];
      entry.gains[trace.rewards[reward]].add(z);
      gain.add(z, weights[reward]);
    }
    if (gain.count > 0) entry.gain.add(gain.sum / gain.count);
    entry.times.add(trace.nfe / trace.plain_nfe);
  }
}

// best-of-n's gain at a cost: straight lines in log cost between its sizes, from no gain at 1.
std::optional<double> control_at(const Json& runs, double times) {
  std::map<double, double> points = {{1.0, 0.0}};
  for (const auto& run : runs)
    if (run["strategy"] == "best-of-n" && run["gain"].is_number()) points[run["times"].get<double>()] = run["gain"].get<double>();
  const auto above = points.lower_bound(times);
  if (above == points.end()) return std::nullopt;
  if (above == points.begin()) return above->second;
  const auto below = std::prev(above);
  return std::lerp(below->second, above->second, std::log(times / below->first) / std::log(above->first / below->first));
}

void check_bench(const SearchBenchOptions& bench) {
  check_fields(bench);
  for (const double size : bench.sizes)
    if (size != std::floor(size) || size < 1 || size > 4096)
      throw_user_error(
          {.where = "--sizes", .problem = "not a number of candidates", .wanted = "whole numbers of 1 to 4096", .got = Json(bench.sizes).dump()});
  for (const auto& strategy : bench.strategies)
    if (strategy == "none") throw_user_error({.where = "--strategies", .problem = "'none' is always there, as what the others are measured against"});
}

}  // namespace

Json bench_search(const Restorer& restorer, const std::vector<std::filesystem::path>& sources, const SearchBenchOptions& bench,
                  const RestoreOptions& restore, const search::SearchOptions& search, const Job& job) {
  check_bench(bench);
  const Measures measures(bench);
  for (const auto& source : sources) measures.check(source, restore);
  std::vector<Entry> entries = {{.strategy = "none"}};
  for (const auto& strategy : bench.strategies)
    for (const double size : bench.sizes) entries.push_back({.strategy = strategy, .candidates = static_cast<int64_t>(size)});
  const auto options_of = [&](const std::string& strategy, int64_t candidates) {
    auto out = search;
    out.strategy = strategy;
    out.candidates = candidates;
    out.survivors = std::min(search.survivors, candidates);
    return out;
  };
  for (const auto& entry : entries) search::check_search(options_of(entry.strategy, entry.candidates));
  // Plain sampling is at the search's own steps and start noise, not at the model's defaults for a single result.
  auto plain = restore;
  if (plain.steps == 0) plain.steps = restorer.defaults().search_steps;
  if (plain.sigma_s == 0) plain.sigma_s = restorer.defaults().search_sigma_s;

  int64_t done = 0;
  const auto total = static_cast<int64_t>(sources.size() * (entries.size() + 1));
  const auto timed = [&](const image::Picture& source, const search::SearchOptions& options, Mean* seconds) {
    const auto start = std::chrono::steady_clock::now();
    Restored out = restorer.restore(source, plain, options, {.on_progress = {}, .stop = job.stop});
    if (job.stop.stop_requested()) throw Cancelled();
    if (seconds != nullptr) seconds->add(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    job.report({.stage = "bench", .done = ++done, .of = total});
    return out;
  };
  for (const auto& path : sources) {
    const auto source = image::read_picture(path);
    const auto reference = measures.reference(path);
    std::vector<Scale> scales;
    for (const auto& tile : timed(source, options_of("best-of-n", bench.baseline), nullptr).searched) scales.push_back(scale_of(tile.trace));
    for (auto& entry : entries) {
      const auto restored = timed(source, options_of(entry.strategy, entry.candidates), &entry.seconds);
      if (entry.strategy == "none") {
        entry.gain.add(0);
        entry.times.add(1);
      } else {
        add_gains(entry, restored.searched, scales, says(search));
      }
      measures.add(entry, restored.picture.pixels.unsqueeze(0), reference);
      if (bench.pictures.empty()) continue;
      const auto folder =
          std::filesystem::path(bench.pictures) / (entry.strategy == "none" ? "none" : fmt::format("{}-{}", entry.strategy, entry.candidates));
      create_folder(folder);
      write_restored(folder / (path.stem().string() + ".png"), restored, {});
    }
  }
  Json runs = Json::array();
  for (const auto& entry : entries) runs.push_back(entry.json());
  for (auto& run : runs) {
    const auto control = run["times"].is_number() ? control_at(runs, run["times"].get<double>()) : std::nullopt;
    run["best_of_n"] = control ? Json(*control) : Json(nullptr);
  }
  auto told = fields_to_json(search);
  for (const auto* own : {"search", "candidates"}) told.erase(own);
  return {{"format", "resflow-search-bench-1"},
          {"pictures", sources.size()},
          {"baseline", bench.baseline},
          {"restore", fields_to_json(plain)},
          {"search", told},
          {"runs", runs}};
}

std::string bench_plot(const Json& report) {
  constexpr double kWidth = 720, kHeight = 420, kLeft = 56, kRight = 130, kTop = 20, kBottom = 44;
  constexpr std::array<const char*, 8> kColors = {"#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5"};
  std::map<std::string, std::vector<std::pair<double, double>>> lines;
  double most = 2, low = 0, high = 0.1;
  for (const auto& run : report.at("runs")) {
    if (!run.at("gain").is_number() || run.at("strategy") == "none") continue;
    const double times = run.at("times").get<double>(), gain = run.at("gain").get<double>();
    lines[run.at("strategy").get<std::string>()].emplace_back(times, gain);
    most = std::max(most, times);
    low = std::min(low, gain);
    high = std::max(high, gain);
  }
  const auto px = [&](double times) { return kLeft + std::log(times) / std::log(most) * (kWidth - kLeft - kRight); };
  const auto py = [&](double gain) { return kTop + (high - gain) / (high - low) * (kHeight - kTop - kBottom); };
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" font-family=\"sans-serif\" font-size=\"12\">"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n",
      kWidth, kHeight);
  for (double times = 1; times <= most * 1.001; times *= 2)
    out += fmt::format(
        "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#ddd\"/><text x=\"{0:.1f}\" y=\"{3}\" "
        "text-anchor=\"middle\">{4:g}</text>\n",
        px(times), kTop, kHeight - kBottom, kHeight - kBottom + 16, times);
  const double tick = high - low > 2 ? 0.5 : high - low > 0.8 ? 0.2 : 0.1;
  for (double gain = std::ceil(low / tick) * tick; gain <= high; gain += tick)
    out += fmt::format(
        "<line x1=\"{1}\" x2=\"{2}\" y1=\"{0:.1f}\" y2=\"{0:.1f}\" stroke=\"#ddd\"/><text x=\"{3}\" y=\"{4:.1f}\" "
        "text-anchor=\"end\">{5:.1f}</text>\n",
        py(gain), kLeft, kWidth - kRight, kLeft - 6, py(gain) + 4, gain);
  out += fmt::format(
      "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">model evaluations, times those of plain sampling</text>"
      "<text transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">gain in reward, standard deviations of plain samples</text>\n",
      (kLeft + kWidth - kRight) / 2, kHeight - 8, (kTop + kHeight - kBottom) / 2);
  size_t color = 0;
  double label = kTop + 8;
  for (auto& [strategy, points] : lines) {
    std::sort(points.begin(), points.end());
    const char* stroke = kColors[color++ % kColors.size()];
    std::string path = fmt::format("{:.1f},{:.1f}", px(1), py(0));
    std::string dots;
    for (const auto& [times, gain] : points) {
      path += fmt::format(" {:.1f},{:.1f}", px(times), py(gain));
      dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"/>", px(times), py(gain), stroke);
    }
    out += fmt::format(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>{}<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"3\" fill=\"{}\"/>"
        "<text x=\"{}\" y=\"{}\">{}</text>\n",
        path, stroke, dots, kWidth - kRight + 14, label - 5, stroke, kWidth - kRight + 32, label, strategy);
    label += 18;
  }
  return out + "</svg>\n";
}

}  // namespace resflow::restore
