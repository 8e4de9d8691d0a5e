#include "resflow/compare/page.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <unistd.h>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/image/codec.h"
#include "resflow/image/data_uri.h"
#include "resflow/image/side_by_side.h"

namespace resflow::compare {
namespace {

namespace fs = std::filesystem;

constexpr auto kStyle = R"(
:root { color-scheme: light dark; --ink: #1c1c1e; --soft: #6b6b70; --page: #fff; --line: #d5d5da; --best: #0a7a3d; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --soft: #9a9aa2; --page: #16161a; --line: #3a3a42; --best: #4cc38a; } }
body { font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .4rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; white-space: nowrap; } th { border-bottom: 1px solid var(--line); } td.l, th.l { text-align: left; }
td.best { color: var(--best); font-weight: 600; }
.pair { position: relative; display: inline-block; max-width: 100%; --at: 50%; line-height: 0; touch-action: pan-y; }
.pair img { max-width: 100%; display: block; } .pair img.left { position: absolute; inset: 0; clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.pair::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px; background: #fff; box-shadow: 0 0 3px #000; pointer-events: none; }
.pair input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }
.pair:focus-within { outline: 2px solid var(--best); outline-offset: 2px; }
.choose { display: flex; justify-content: space-between; max-width: 48rem; margin: .3rem 0; }
)";

// Which two ways a figure shows, and where its border is.
constexpr auto kScript = R"(
for (const figure of document.querySelectorAll("figure")) {
  const pictures = JSON.parse(figure.querySelector("script").textContent);
  const pair = figure.querySelector(".pair");
  for (const side of ["left", "right"]) {
    const select = figure.querySelector("select." + side), image = pair.querySelector("img." + side);
    const show = () => { image.src = pictures[select.value]; image.alt = select.value; };
    select.addEventListener("change", show);
    show();
  }
  const range = pair.querySelector("input");
  range.addEventListener("input", () => pair.style.setProperty("--at", range.value + "%"));
}
)";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return out;
}

Tensor middle_of(const fs::path& file, int64_t side) {
  const Tensor pixels = image::read_picture(file).pixels;
  const int64_t h = std::min(side, pixels.size(1)), w = std::min(side, pixels.size(2));
  return pixels.narrow(1, (pixels.size(1) - h) / 2, h).narrow(2, (pixels.size(2) - w) / 2, w);
}

std::string jpeg_uri(const fs::path& file, int64_t side) {
  std::string name = (fs::temp_directory_path() / "resflow-compare-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr)
    throw_user_error({.where = name, .problem = "no temporary folder can be made", .hint = "Check TMPDIR and free space"});
  const fs::path folder(name), jpeg = folder / "picture.jpg";
  image::Picture picture;
  picture.pixels = middle_of(file, side).contiguous();
  image::write_picture(jpeg, picture, {.quality = 90});
  std::string out = image::data_uri(jpeg);
  fs::remove_all(folder);
  return out;
}

// The best number of each column, to be marked.
std::map<std::string, double> best_of(const Json& report) {
  std::map<std::string, double> best;
  for (const auto& [metric, higher] : report.at("higher_is_better").items())
    for (const auto& way : report.at("ways")) {
      const Json value = way.at("mean").value(metric, Json());
      if (!value.is_number()) continue;
      const double number = value.get<double>();
      const auto [place, fresh] = best.emplace(metric, number);
      if (!fresh && (higher.get<bool>() ? number > place->second : number < place->second)) place->second = number;
    }
  return best;
}

std::string table_of(const Json& report) {
  const auto best = best_of(report);
  std::string out = "<div class=\"wide\"><table><tr><th class=\"l\">way</th>";
  for (const auto& [metric, higher] : report.at("higher_is_better").items())
    out += fmt::format("<th>{} {}</th>", escaped(metric), higher.get<bool>() ? "\u2191" : "\u2193");
  out += "<th>seconds</th><th class=\"l\"></th></tr>\n";
  for (const auto& way : report.at("ways")) {
    out += fmt::format("<tr><td class=\"l\">{}</td>", escaped(way.at("name").get<std::string>()));
    for (const auto& [metric, higher] : report.at("higher_is_better").items()) {
      const Json value = way.at("mean").value(metric, Json());
      out += value.is_number()
                 ? fmt::format("<td{}>{:.4f}</td>", value.get<double>() == best.at(metric) ? " class=\"best\"" : "", value.get<double>())
                 : "<td>-</td>";
    }
    out += fmt::format("<td>{:.2f}</td><td class=\"l\">{}</td></tr>\n", way.at("seconds").get<double>(), escaped(way.at("what").get<std::string>()));
  }
  return out + "</table></div>\n";
}

std::string figure_of(const ShownPicture& picture, int64_t window) {
  Json uris = Json::object();
  std::string options;
  for (const auto& [way, file] : picture.files) {
    uris[way] = jpeg_uri(file, window);
    options += fmt::format("<option>{}</option>", escaped(way));
  }
  const auto select = [&](const char* side, const std::string& chosen) {
    std::string out = options;
    const std::string mark = fmt::format("<option>{}<", escaped(chosen));
    out.replace(out.find(mark), mark.size(), fmt::format("<option selected>{}<", escaped(chosen)));
    return fmt::format("<select class=\"{0}\" aria-label=\"{0} picture\">{1}</select>", side, out);
  };
  const bool truth = picture.files.back().first == "truth";
  const std::string last = picture.files[picture.files.size() - (truth ? 2 : 1)].first;
  return fmt::format(
      "<h2>{0}</h2>\n<figure style=\"margin:0\"><div class=\"choose\">{1}{2}</div><div class=\"pair\"><img class=\"right\" alt=\"\"><img "
      "class=\"left\" "
      "alt=\"\"><input type=\"range\" min=\"0\" max=\"100\" value=\"50\" aria-label=\"border between the two, {0}\"></div>"
      "<script type=\"application/json\">{3}</script></figure>\n",
      escaped(picture.name), select("left", picture.files.front().first), select("right", last), uris.dump());
}

}  // namespace

void write_sheet(const fs::path& file, const std::vector<ShownPicture>& pictures, int64_t cell) {
  std::vector<std::vector<Tensor>> rows;
  for (const auto& picture : pictures) {
    auto& row = rows.emplace_back();
    for (const auto& [way, path] : picture.files) {
      const Tensor part = middle_of(path, cell);
      row.push_back(at::constant_pad_nd(part, {0, cell - part.size(2), 0, cell - part.size(1)}, 1));
    }
  }
  image::Picture sheet;
  sheet.pixels = image::contact_sheet(rows);
  image::write_picture(file, sheet);
}

void write_page(const fs::path& file, const Json& report, const std::vector<ShownPicture>& pictures, int64_t window) {
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
      "<title>Comparison</title><style>{}</style></head><body>\n<h1>{} pictures, restored {} ways</h1>\n{}",
      kStyle, report.at("pictures").dump(), report.at("ways").size(), table_of(report));
  out +=
      "<p>Means over the pictures; green: the best. Drag the border, or move it with the arrow keys. Each picture is shown as it is, pixel for "
      "pixel, or its "
      "middle.</p>\n";
  for (const auto& picture : pictures) out += figure_of(picture, window);
  write_text_atomically(file, out + "<script>" + kScript + "</script></body></html>\n");
}

}  // namespace resflow::compare
