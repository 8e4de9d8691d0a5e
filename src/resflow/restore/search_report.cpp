#include "resflow/restore/search_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "resflow/image/data_uri.h"

namespace resflow::restore {
namespace {

constexpr auto kStyle = R"(
:root { color-scheme: light dark; --ink: #1c1c1e; --soft: #6b6b70; --page: #fff; --line: #d5d5da; --best: #0a7a3d; --bad: #b3261e; --dot: #4a6fa5; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececf0; --soft: #9a9aa2; --page: #16161a; --line: #3a3a42; --best: #4cc38a; --bad: #ff8a80; --dot: #8ab0e6; } }
body { font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow: auto; max-height: 90vh; border: 1px solid var(--line); border-radius: 6px; }
svg text { fill: var(--ink); font-size: 11px; } svg .soft { fill: var(--soft); }
.edge { fill: none; stroke: var(--line); stroke-width: 1.5; } .edge.path { stroke: var(--best); stroke-width: 3; }
.frame { fill: none; stroke: var(--line); stroke-width: 1.5; } .frame.chosen { stroke: var(--ink); stroke-width: 2; }
.frame.path { stroke: var(--best); stroke-width: 4; } .frame.gated { stroke: var(--bad); stroke-dasharray: 4 3; }
.dot { fill: var(--dot); opacity: .55; } .dot.path { fill: var(--best); opacity: 1; } .axis { stroke: var(--line); } .lead { fill: none; stroke: var(--best); stroke-width: 1.5; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; } th, td { padding: .15rem .6rem; text-align: right; white-space: nowrap; }
th { border-bottom: 1px solid var(--line); position: sticky; top: 0; background: var(--page); } td.l, th.l { text-align: left; }
tr.path td { color: var(--best); font-weight: 600; } tr.gated td { color: var(--bad); } code { font-size: .92em; }
)";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string number(const Json& value) { return value.is_number() ? fmt::format("{:.5g}", value.get<double>()) : "-"; }

// A tile's candidates, and what the drawings ask of them.
struct View {
  const TraceFile& trace;
  size_t tile;
  const Json& search;
  std::set<int64_t> path;

  View(const TraceFile& file, size_t index) : trace(file), tile(index), search(file.tiles()[index].at("search")) {
    for (const auto& id : search.at("path")) path.insert(id.get<int64_t>());
  }
  const Json& candidates() const { return search.at("candidates"); }
  bool on_path(const Json& candidate) const { return path.contains(candidate.at("id").get<int64_t>()); }
  std::string kind(const Json& candidate) const {
    return on_path(candidate) ? "path" : candidate.at("gated").get<bool>() ? "gated" : candidate.at("chosen").get<bool>() ? "chosen" : "";
  }
  static std::string list(const Json& parts) {
    std::string out;
    for (const auto id : parts.get<std::set<int64_t>>()) out += (out.empty() ? "" : ", ") + std::to_string(id);
    return out;
  }
  std::string told(const Json& candidate) const {
    std::string out =
        fmt::format("candidate {}: {}, round {}, noise level {}, rank {}", candidate.at("id").dump(), candidate.at("kind").get<std::string>(),
                    candidate.at("round").dump(), number(candidate.at("sigma")), number(candidate.at("rank")));
    for (const auto& [name, score] : candidate.at("scores").items()) out += fmt::format("\n{} {}", name, number(score));
    if (candidate.at("gated").get<bool>()) out += "\ndropped by a gate";
    if (candidate.contains("parts")) out += "\nregions of " + list(candidate.at("parts"));
    return out;
  }
};

std::string tree(const View& view) {
  constexpr int64_t kSide = 84, kGap = 14, kColumn = kSide + 76, kTop = 26;
  std::map<int64_t, std::vector<const Json*>> columns;
  for (const auto& candidate : view.candidates()) columns[candidate.at("round").get<int64_t>()].push_back(&candidate);
  std::map<int64_t, std::pair<int64_t, int64_t>> places;  // of an id: x, y of its corner
  std::string heads, nodes, edges;
  size_t most = 0;
  int64_t x = 12;
  for (auto& [round, column] : columns) {
    std::stable_sort(column.begin(), column.end(),
                     [](const Json* a, const Json* b) { return a->at("rank").get<double>() < b->at("rank").get<double>(); });
    heads += fmt::format("<text class=\"soft\" x=\"{}\" y=\"16\">round {}, t {}</text>", x, round, number(column.front()->at("sigma")));
    int64_t y = kTop;
    for (const Json* candidate : column) {
      const auto id = candidate->at("id").get<int64_t>();
      places[id] = {x, y};
      const auto picture = view.trace.small_picture(view.tile, id);
      const std::string inside = std::filesystem::exists(picture) ? fmt::format("<image href=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                                                                                image::data_uri(picture), x, y, kSide, kSide)
                                                                  : "";
      nodes += fmt::format(
          "<g><title>{}</title>{}<rect class=\"frame {}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" pointer-events=\"all\"/>"
          "<text x=\"{}\" y=\"{}\">{}{}</text></g>\n",
          escaped(view.told(*candidate)), inside, view.kind(*candidate), x, y, kSide, kSide, x + kSide + 5, y + 12, id,
          candidate->at("finished").get<bool>() ? " \u2713" : "");
      y += kSide + kGap;
    }
    most = std::max(most, column.size());
    x += kColumn;
  }
  for (const auto& candidate : view.candidates()) {
    const auto from = places.find(candidate.at("parent").get<int64_t>());
    if (from == places.end()) continue;
    const auto [x1, y1] = from->second;
    const auto [x2, y2] = places.at(candidate.at("id").get<int64_t>());
    if (x2 <= x1) continue;
    const int64_t middle = (x1 + kSide + x2) / 2, half = kSide / 2;
    edges += fmt::format("<path class=\"edge {}\" d=\"M{} {}C{} {} {} {} {} {}\"/>\n", view.on_path(candidate) ? "path" : "", x1 + kSide, y1 + half,
                         middle, y1 + half, middle, y2 + half, x2, y2 + half);
  }
  const auto height = kTop + static_cast<int64_t>(most) * (kSide + kGap);
  return fmt::format("<div class=\"wide\"><svg width=\"{}\" height=\"{}\" role=\"img\" aria-label=\"tree of candidates\">\n{}\n{}{}</svg></div>\n", x,
                     height, heads, edges, nodes);
}

// One reward against the evaluations spent: every candidate a dot; the line joins the first of each round.
std::string chart(const View& view, const std::string& reward) {
  constexpr double kWidth = 330, kHeight = 170, kLeft = 58, kBottom = 24, kTop = 22;
  struct Point {
    double nfe, score;
    std::string kind, told;
  };
  std::vector<Point> points;
  std::map<int64_t, Point> leads;
  std::map<int64_t, double> best_rank;
  double low = INFINITY, high = -INFINITY, most = 1;
  for (const auto& candidate : view.candidates()) {
    const auto& score = candidate.at("scores").at(reward);
    if (!score.is_number()) continue;
    const Point point{candidate.at("nfe").get<double>(), score.get<double>(), view.on_path(candidate) ? "path" : "", view.told(candidate)};
    points.push_back(point);
    low = std::min(low, point.score);
    high = std::max(high, point.score);
    most = std::max(most, point.nfe);
    const auto round = candidate.at("round").get<int64_t>();
    const double rank = candidate.at("rank").get<double>();
    if (candidate.at("gated").get<bool>() || (best_rank.contains(round) && best_rank[round] <= rank)) continue;
    best_rank[round] = rank;
    leads[round] = point;
  }
  if (points.empty()) return fmt::format("<p>{}: could judge no candidate.</p>", escaped(reward));
  if (high <= low) high = low + 1e-9;
  const auto px = [&](double nfe) { return kLeft + nfe / most * (kWidth - kLeft - 12); };
  const auto py = [&](double score) { return kTop + (high - score) / (high - low) * (kHeight - kTop - kBottom); };
  std::string out = fmt::format("<svg width=\"{0}\" height=\"{1}\" role=\"img\" aria-label=\"{2}\"><text x=\"{3}\" y=\"13\">{2}</text>", kWidth,
                                kHeight, escaped(reward), kLeft);
  for (const double level : {low, high})
    out += fmt::format(
        "<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text class=\"soft\" x=\"{}\" y=\"{:.1f}\" "
        "text-anchor=\"end\">{:.4g}</text>",
        kLeft, kWidth - 12, py(level), py(level), kLeft - 5, py(level) + 4, level);
  out += fmt::format("<text class=\"soft\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.4g} NFE</text>", kWidth - 12, kHeight - 6, most);
  std::string line;
  for (const auto& [round, point] : leads) line += fmt::format("{:.1f},{:.1f} ", px(point.nfe), py(point.score));
  out += fmt::format("<polyline class=\"lead\" points=\"{}\"/>", line);
  for (const auto& point : points)
    out += fmt::format("<circle class=\"dot {}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"><title>{}</title></circle>", point.kind, px(point.nfe),
                       py(point.score), escaped(point.told));
  return out + "</svg>\n";
}

std::string table(const View& view) {
  std::string out = "<div class=\"wide\"><table><tr><th>id</th><th>parent</th><th class=\"l\">kind</th><th>round</th><th>t</th><th>rho</th>";
  for (const auto& reward : view.search.at("rewards")) out += "<th>" + escaped(reward.get<std::string>()) + "</th>";
  out += "<th>rank</th><th>NFE</th><th class=\"l\"></th></tr>\n";
  for (const auto& c : view.candidates()) {
    const auto parent = c.at("parent").get<int64_t>();
    out += fmt::format("<tr class=\"{}\"><td>{}</td><td>{}</td><td class=\"l\">{}</td><td>{}</td><td>{}</td><td>{}</td>", view.kind(c),
                       c.at("id").dump(), parent < 0 ? "" : std::to_string(parent),
                       c.at("kind").get<std::string>() + (c.contains("parts") ? " of " + View::list(c.at("parts")) : ""), c.at("round").dump(),
                       number(c.at("sigma")), number(c.at("rho")));
    for (const auto& reward : view.search.at("rewards")) out += "<td>" + number(c.at("scores").at(reward.get<std::string>())) + "</td>";
    std::string fate;
    if (c.at("id") == view.search.at("winner"))
      fate = "the winner";
    else if (c.at("finished").get<bool>())
      fate = fmt::format("<code>--pick {}{}</code>", view.trace.tiles().size() > 1 ? std::to_string(view.tile) + ":" : "", c.at("id").dump());
    else if (c.at("gated").get<bool>())
      fate = "dropped by a gate";
    else if (c.at("chosen").get<bool>())
      fate = "went on";
    out += fmt::format("<td>{}</td><td>{}</td><td class=\"l\">{}</td></tr>\n", number(c.at("rank")), number(c.at("nfe")), fate);
  }
  return out + "</table></div>\n";
}

std::string tile_section(const TraceFile& trace, size_t tile) {
  const View view(trace, tile);
  const Json& at = trace.tiles()[tile];
  std::string out = fmt::format(
      "<details{}><summary>Tile {}: {} x {} px at {}, {}; {} candidates, {} NFE ({:.3g} x plain), {:.1f} s, ended: {}</summary>\n",
      tile < 3 ? " open" : "", tile, at.at("width").dump(), at.at("height").dump(), at.at("x").dump(), at.at("y").dump(), view.candidates().size(),
      number(view.search.at("nfe")), view.search.at("nfe").get<double>() / std::max(1e-9, view.search.at("plain_nfe").get<double>()),
      view.search.at("seconds").get<double>(), view.search.at("ended").get<std::string>());
  out += "<h2>Candidates</h2>\n" + tree(view) + "<h2>Rewards against model evaluations</h2>\n<div class=\"charts\">\n";
  for (const auto& reward : view.search.at("rewards")) out += chart(view, reward.get<std::string>());
  out += "</div>\n<h2>Scores</h2>\n" + table(view);
  for (const auto& note : view.search.at("notes")) out += "<p>" + escaped(note.get<std::string>()) + "</p>\n";
  return out + "</details>\n";
}

}  // namespace

std::string search_report(const TraceFile& trace) {
  const Json& manifest = trace.content.at("manifest");
  const Json& options = manifest.at("options");
  const Json& searched = trace.tiles().front().at("search").at("options");
  const auto row = [](const std::string& name, const std::string& value) { return fmt::format("<dt>{}</dt><dd>{}</dd>\n", name, escaped(value)); };
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
      "<title>Search: {0}</title><style>{1}</style></head><body>\n<h1>How {0} was searched</h1>\n<dl>",
      escaped(std::filesystem::path(trace.content.at("input").get<std::string>()).filename().string()), kStyle);
  out += row("source", trace.content.at("input").get<std::string>());
  out += row("result", fmt::format("{} ({} x {} px)", trace.content.at("output").get<std::string>(), manifest.at("result").at("width").dump(),
                                   manifest.at("result").at("height").dump()));
  out +=
      row("strategy", fmt::format("{}: {} candidates, {} rounds, {} survivors, look-ahead {}, rho {} ({})", options.at("search").get<std::string>(),
                                  options.at("candidates").dump(), searched.at("rounds").dump(), options.at("survivors").dump(),
                                  options.at("lookahead").dump(), options.at("rho").dump(), options.at("perturbation").get<std::string>()));
  out += row("steps, sigma_s, seed", fmt::format("{}, {}, {}", options.at("steps").dump(), options.at("sigma_s").dump(), options.at("seed").dump()));
  out += row("model evaluations",
             fmt::format("{} a tile (plain sampling: {})", number(manifest.at("nfe")), number(manifest.at("search").at("plain_nfe"))));
  out += row("seconds", number(manifest.at("seconds")));
  out +=
      "</dl>\n<p>Green: the winner and what it came from. Black frame: went on. Red: dropped by a gate. \u2713: finished, can be chosen instead with "
      "<code>resflow search-report TRACE --pick ID -o other.png</code>. Scores: higher is better.</p>\n";
  for (size_t t = 0; t < trace.tiles().size(); ++t) out += tile_section(trace, t);
  return out + "</body></html>\n";
}

}  // namespace resflow::restore
