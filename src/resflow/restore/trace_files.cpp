#include "resflow/restore/trace_files.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include "resflow/core/files.h"
#include "resflow/core/parse_json.h"
#include "resflow/image/color_fix.h"

namespace resflow::restore {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kSmallSide = 128;
constexpr auto kFormat = "resflow-trace-1";

fs::path folder_of(const fs::path& trace) { return trace.parent_path() / (trace.stem().string() + ".pictures"); }
std::string name_of(size_t tile, int64_t id, const char* extension) { return fmt::format("t{}-c{}.{}", tile, id, extension); }

image::Picture picture_of(const Tensor& pixels) {
  image::Picture picture;
  picture.pixels = pixels.to(at::kCPU, at::kFloat).clamp(0, 1).contiguous();
  return picture;
}

Tensor small(const Tensor& image) {
  const double factor = std::min(1.0, static_cast<double>(kSmallSide) / static_cast<double>(std::max(image.size(1), image.size(2))));
  const auto side = [&](int64_t of) { return std::max<int64_t>(1, std::llround(static_cast<double>(of) * factor)); };
  return image::resize(image.to(at::kCPU, at::kFloat).contiguous(), side(image.size(1)), side(image.size(2)));
}

}  // namespace

std::vector<std::string> trace_picture_names() { return {"none", "small", "all"}; }

TraceWriter::TraceWriter(fs::path trace, const std::string& pictures)
    : trace_(std::move(trace)),
      folder_(folder_of(trace_)),
      gathering_(folder_.parent_path() / fmt::format(".{}.{}", folder_.filename().string(), ::getpid())),
      small_(pictures != "none"),
      whole_(pictures == "all") {
  if (small_) create_folder(gathering_);
}

TraceWriter::~TraceWriter() {
  std::error_code ignored;
  fs::remove_all(gathering_, ignored);
}

SearchWatch TraceWriter::watch() const {
  SearchWatch watch;
  if (small_)
    watch.on_candidate = [this](size_t tile, const search::TraceCandidate& candidate, const Tensor& image) {
      image::write_picture(gathering_ / name_of(tile, candidate.id, "jpg"), picture_of(small(image)), {.quality = 85});
    };
  if (whole_)
    watch.on_tile = [this](size_t tile, const search::Trace&, const std::vector<std::pair<int64_t, Tensor>>& finished) {
      for (const auto& [id, pixels] : finished) image::write_picture(gathering_ / name_of(tile, id, "png"), picture_of(pixels), {.bits = 16});
    };
  return watch;
}

void TraceWriter::write(const Restored& restored, const fs::path& input, const fs::path& output) const {
  Json tiles = Json::array();
  for (const auto& [region, trace] : restored.searched)
    tiles.push_back({{"y", region.y}, {"x", region.x}, {"height", region.height}, {"width", region.width}, {"search", trace.to_json()}});
  const Json content = {{"format", kFormat},
                        {"input", fs::absolute(input).string()},
                        {"output", fs::absolute(output).string()},
                        {"manifest", restored.manifest},
                        {"tiles", tiles}};
  std::error_code error;
  fs::remove_all(folder_, error);
  if (small_) fs::rename(gathering_, folder_, error);
  if (error) throw_user_error({.where = folder_.string(), .problem = "cannot be written", .got = error.message()});
  write_text_atomically(trace_, content.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

TraceFile TraceFile::read(const fs::path& path) {
  TraceFile out{.path = path, .content = parse_json(read_text(path))};
  if (!out.content.is_object() || out.content.value("format", "") != kFormat || !out.content.contains("tiles") || !out.content.contains("manifest"))
    throw_user_error(
        {.where = path.string(), .problem = "is no trace of a search", .wanted = "what `resflow restore --search ... --trace run.json` wrote"});
  return out;
}

fs::path TraceFile::small_picture(size_t tile, int64_t id) const { return folder_of(path) / name_of(tile, id, "jpg"); }
fs::path TraceFile::whole_picture(size_t tile, int64_t id) const { return folder_of(path) / name_of(tile, id, "png"); }

std::vector<int64_t> TraceFile::finished(size_t tile) const {
  std::vector<int64_t> out;
  for (const auto& candidate : tiles().at(tile).at("search").at("candidates"))
    if (candidate.at("finished").get<bool>()) out.push_back(candidate.at("id").get<int64_t>());
  return out;
}

Restored pick_candidates(const TraceFile& trace, const std::map<size_t, int64_t>& picks) {
  const Json& manifest = trace.content.at("manifest");
  const Json& options = manifest.at("options");
  const auto height = manifest.at("result").at("height").get<int64_t>(), width = manifest.at("result").at("width").get<int64_t>();
  constexpr int64_t kMultiple = models::CompactFlow::kMultiple;
  const int64_t padded_height = image::padded_size(height, kMultiple), padded_width = image::padded_size(width, kMultiple);
  const auto tiles =
      image::plan_tiles(padded_height, padded_width, options.at("tile").get<int64_t>(), options.at("overlap").get<int64_t>(), kMultiple);
  if (tiles.size() != trace.tiles().size())
    throw_user_error({.where = trace.path.string(),
                      .problem = "does not hold every tile",
                      .wanted = std::to_string(tiles.size()),
                      .got = std::to_string(trace.tiles().size())});

  image::TileBlender blender(3, padded_height, padded_width, tiles);
  Json picked = Json::object();
  for (size_t t = 0; t < tiles.size(); ++t) {
    const auto chosen = picks.find(t);
    const auto id = chosen != picks.end() ? chosen->second : trace.tiles()[t].at("search").at("winner").get<int64_t>();
    picked[std::to_string(t)] = id;
    const auto file = trace.whole_picture(t, id);
    if (!fs::exists(file)) {
      const auto there = trace.finished(t);
      const bool finished = std::find(there.begin(), there.end(), id) != there.end();
      throw_user_error({.where = fmt::format("candidate {} of tile {}", id, t),
                        .problem = finished ? "its picture is not there" : "was dropped before it was finished, or never was",
                        .wanted = finished ? file.string() : fmt::format("one of {}", fmt::join(there, ", ")),
                        .hint = finished ? "Search again with --trace-pictures all, and keep the trace and its folder together" : ""});
    }
    const Tensor pixels = image::read_picture(file).pixels;
    if (pixels.size(1) != tiles[t].height || pixels.size(2) != tiles[t].width)
      throw_user_error({.where = file.string(),
                        .problem = "has another size than its tile",
                        .wanted = fmt::format("{}x{}", tiles[t].width, tiles[t].height),
                        .got = fmt::format("{}x{}", pixels.size(2), pixels.size(1))});
    blender.add(tiles[t], pixels);
  }

  const fs::path input = trace.content.at("input").get<std::string>(), output = trace.content.at("output").get<std::string>();
  const image::Picture source = image::read_picture(input);
  if (source.pixels.size(1) != manifest.at("source").at("height").get<int64_t>() ||
      source.pixels.size(2) != manifest.at("source").at("width").get<int64_t>())
    throw_user_error({.where = input.string(), .problem = "is another picture than the one that was searched"});
  Restored out;
  out.picture = source;
  out.picture.pixels = blender.result().narrow(1, 0, height).narrow(2, 0, width).clamp_(0, 1).contiguous();
  if (const auto fix = options.at("color_fix").get<std::string>(); fix != "none" && fix != "wavelet") {  // wavelet: done by tile
    const Tensor style = image::resize(source.pixels, height, width).unsqueeze(0);
    out.picture.pixels = image::fix_color(fix, out.picture.pixels.unsqueeze(0), style).squeeze(0).clamp_(0, 1);
  }
  if (source.alpha.defined()) {
    const image::Picture before = image::read_picture(output);
    if (before.alpha.defined() && (before.alpha.size(1) != height || before.alpha.size(2) != width))
      throw_user_error({.where = output.string(), .problem = "its alpha has another size than the result"});
    out.picture.alpha = before.alpha;
  }
  out.manifest = manifest;
  out.manifest["picked"] = picked;
  return out;
}

std::map<size_t, int64_t> parse_picks(const std::string& text, const TraceFile& trace) {
  const auto refuse = [&](const std::string& problem, const std::string& wanted) {
    throw_user_error({.where = "--pick", .problem = problem, .wanted = wanted, .got = text});
  };
  const auto number = [&](std::string_view part) {
    int64_t value = -1;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || value < 0) refuse("not a number", "ID, or TILE:ID, with commas between");
    return value;
  };
  std::map<size_t, int64_t> out;
  std::string_view rest = text;
  while (true) {
    const auto comma = rest.find(',');
    const auto part = rest.substr(0, comma);
    const auto colon = part.find(':');
    if (colon == std::string_view::npos && trace.tiles().size() > 1)
      refuse("which tile?", fmt::format("TILE:ID, TILE from 0 to {}", trace.tiles().size() - 1));
    const auto tile = colon == std::string_view::npos ? 0 : static_cast<size_t>(number(part.substr(0, colon)));
    if (tile >= trace.tiles().size()) refuse("no such tile", fmt::format("0 to {}", trace.tiles().size() - 1));
    out[tile] = number(colon == std::string_view::npos ? part : part.substr(colon + 1));
    if (comma == std::string_view::npos) return out;
    rest = rest.substr(comma + 1);
  }
}

}  // namespace resflow::restore
