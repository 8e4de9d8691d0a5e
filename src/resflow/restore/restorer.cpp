#include "resflow/restore/restorer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "resflow/core/device.h"
#include "resflow/flow/denoise.h"
#include "resflow/image/color_fix.h"
#include "resflow/image/resize.h"
#include "resflow/image/tiles.h"
#include "resflow/restore/assurance.h"
#include "resflow/restore/compact_backbone.h"
#include "resflow/restore/flux_backbone.h"
#include "resflow/search/coordinates.h"
#include "resflow/search/strategy.h"

namespace resflow::restore {
namespace {

constexpr double kMostPixels = 1e9;
constexpr int64_t kMultiple = 16;  // of a tile's sides
constexpr int64_t kSmallestTile = 128;

// A tile of [3, h, w] of the result, of `picture` enlarged (or made smaller) to the result's size; beyond its edge it is padded. -> [1, 3, h, w]
Tensor tile_of(const Tensor& picture, Size size, const image::Tile& tile, image::Kernel kernel) {
  const image::Region inside{
      .y = tile.y, .x = tile.x, .height = std::min(tile.height, size.height - tile.y), .width = std::min(tile.width, size.width - tile.x)};
  const Tensor part = image::resize_region(picture, size.height, size.width, inside, kernel).clamp_(0, 1).unsqueeze(0);
  if (inside.height == tile.height && inside.width == tile.width) return part;
  return at::replication_pad2d(part, {0, tile.width - inside.width, 0, tile.height - inside.height});
}

// Options that only FLUX has.
void check_compact(const ModelOptions& options) {
  const Json asked = fields_to_json(options.flux), usual = fields_to_json(FluxOptions{});
  for (const auto& [name, value] : asked.items())
    if (value != usual.at(name))
      throw_user_error({.where = name,
                        .problem = "an option of FLUX",
                        .got = "the model " + options.model,
                        .hint = "Name a diffusers folder of FLUX with --model, or leave the option out"});
}

bool constant(const Tensor& plane) { return plane.min().item<float>() == plane.max().item<float>(); }

void check_overlap(int64_t tile, int64_t overlap) {
  if (tile / kMultiple > image::padded_size(overlap, kMultiple) / kMultiple) return;
  throw_user_error({.where = "restore",
                    .problem = "--tile is too small for --overlap",
                    .wanted = fmt::format("a tile of more than {} px", overlap + kMultiple - 1),
                    .got = std::to_string(tile),
                    .hint = "Raise --tile or lower --overlap"});
}

}  // namespace

void check_options(const RestoreOptions& options) {
  check_fields(options);
  if ((options.width > 0 || options.height > 0) && options.scale > 0)
    throw_user_error({.where = "restore", .problem = "--scale together with --width or --height", .hint = "Give one or the other"});
  if (options.tile > 0 && options.tile < kSmallestTile)
    throw_user_error({.where = "tile",
                      .problem = "is out of range",
                      .wanted = fmt::format("[{}, 8192], or 0", kSmallestTile),
                      .got = std::to_string(options.tile)});
  if (options.tile > 0) check_overlap(options.tile, options.overlap);
}

Size target_size(const RestoreOptions& options, Size source) {
  const auto w = static_cast<double>(source.width), h = static_cast<double>(source.height);
  double width = static_cast<double>(options.width), height = static_cast<double>(options.height);
  if (width == 0 && height == 0) {
    const double scale = options.scale > 0 ? options.scale : std::max(w, h) < 512 ? 4 : 2;
    width = w * scale;
    height = h * scale;
  } else if (height == 0) {
    height = h * width / w;
  } else if (width == 0) {
    width = w * height / h;
  }
  const Size size{.width = std::max<int64_t>(1, std::llround(width)), .height = std::max<int64_t>(1, std::llround(height))};
  if (static_cast<double>(size.width) * static_cast<double>(size.height) > kMostPixels)
    throw_user_error({.where = "restore",
                      .problem = "the result is too large",
                      .wanted = "at most 1000 Mpx",
                      .got = fmt::format("{}x{} = {:.0f} Mpx", size.width, size.height, static_cast<double>(size.width * size.height) / 1e6),
                      .hint = "Choose a smaller --scale"});
  return size;
}

Restorer::Restorer(const ModelOptions& options)
    : options_(options), device_(parse_device(options.device)), dtype_(parse_dtype(options.dtype, device_)), named_(find_model(options.model)) {
  if (named_.family == Family::compact) {
    check_compact(options);
    compact_ = models::CompactModel::load(named_.path, device_, dtype_);
    backbone_ = std::make_unique<CompactBackbone>(*compact_, device_, dtype_);
  } else {
    backbone_ = std::make_unique<FluxBackbone>(options);
    compact_ = models::CompactModel::load(find_model("compact").path, device_, dtype_);
  }
  if (!options.dr_file.empty()) remover_ = std::make_unique<const ReferenceNetwork>(options.dr_file, device_, dtype_);
}

void Restorer::prepare(const search::SearchOptions& search, const std::string& caption) const {
  if (search.strategy == "none") return;
  const std::string wanted =
      Json::array({search.rewards, search.reward_weights, search.reward_gates, caption}).dump(-1, ' ', false, Json::error_handler_t::replace);
  if (panel_ && wanted == panel_made_for_) return;
  panel_.reset();  // before its successor is read: it may be large
  panel_ = std::make_unique<const rewards::Panel>(search.rewards, search.reward_weights, search.reward_gates, caption);
  panel_made_for_ = wanted;
}

// What is the same for all tiles of a picture.
struct Restorer::Plan {
  Size size, source;  // of the result, not padded; of the source
  PictureSettings settings;
  search::SearchOptions search;    // strategy "none": no search
  std::vector<image::Tile> tiles;  // of the padded result
  int64_t steps = 0;               // of a tile; 0: the remover alone
  Stream noise;
  bool color_by_tile = false;
  int64_t total_steps = 0;
  mutable int64_t steps_done = 0;
  std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();
  mutable std::vector<SearchedTile> searched;
  SearchWatch watch;

  const RestoreOptions& options() const { return settings.options; }
  bool searches() const { return search.strategy != "none" && steps > 0; }
};

Restored Restorer::restore(const image::Picture& source, const RestoreOptions& options, const search::SearchOptions& search, const Job& job,
                           const SearchWatch& watch) const {
  check_options(options);
  check(options);
  search::check_search(search);
  prepare(search, options.caption);
  c10::InferenceMode inference;
  Restored made = restore_once(source, options, search, job, watch);
  assure(source, options, made, [&](const RestoreOptions& safer) { return restore_once(source, safer, {}, job, {}); });
  return made;
}

void Restorer::check(const RestoreOptions& options) const {
  backbone_->check(options);
  if (options.tile == 0) check_overlap(defaults().tile, options.overlap);
}

Restorer::Plan Restorer::plan_of(const image::Picture& source, const RestoreOptions& options, const search::SearchOptions& search) const {
  Plan plan{.size = target_size(options, {.width = source.pixels.size(2), .height = source.pixels.size(1)}),
            .source = {.width = source.pixels.size(2), .height = source.pixels.size(1)},
            .settings = {.options = options},
            .search = search,
            .noise = Stream(static_cast<uint64_t>(options.seed), "restore.noise")};
  plan.search.seed = options.seed;
  const bool searches = search.strategy != "none";
  const Defaults usual = defaults();
  RestoreOptions& used = plan.settings.options;
  if (used.steps == 0) used.steps = searches ? usual.search_steps : usual.steps;
  if (used.sigma_s == 0) used.sigma_s = searches ? usual.search_sigma_s : usual.sigma_s;
  if (used.tile == 0) used.tile = usual.tile;
  const int64_t multiple = backbone_->multiple();
  plan.tiles = image::plan_tiles(image::padded_size(plan.size.height, multiple), image::padded_size(plan.size.width, multiple), used.tile,
                                 used.overlap, multiple);
  plan.settings.height = plan.tiles.front().height;
  plan.settings.width = plan.tiles.front().width;
  if (searches) plan.settings.batch = search.batch > 0 ? std::min(search.batch, search.candidates) : search.candidates;
  if (used.strength > 0) plan.steps = static_cast<int64_t>(backbone_->sigmas(plan.settings, plan.settings.height, plan.settings.width).size()) - 1;
  // A wavelet's reach is smaller than a tile; the other fixes need the statistics of the whole picture.
  plan.color_by_tile = options.color_fix == "wavelet";
  return plan;
}

Json Restorer::model_json() const {
  Json out = {{"name", options_.model}, {"fingerprint", fingerprint()}, {"device", device_.str()}, {"dtype", dtype_name(dtype_)}};
  out.update(backbone_->told());
  if (remover_) {
    out["remover"] = remover_->told();
  } else if (named_.family == Family::flux) {
    out["remover"] = {{"name", "compact"}, {"fingerprint", compact_->fingerprint}};
  }
  return out;
}

Restored Restorer::restore_once(const image::Picture& source, const RestoreOptions& options, const search::SearchOptions& search, const Job& job,
                                const SearchWatch& watch) const {
  const auto start = std::chrono::steady_clock::now();
  Plan plan = plan_of(source, options, search);
  plan.watch = watch;
  const bool with_alpha = source.alpha.defined() && !constant(source.alpha);
  const int64_t per_tile = std::max<int64_t>(plan.steps, 1);
  plan.total_steps = static_cast<int64_t>(plan.tiles.size()) * (per_tile + (with_alpha ? 1 : 0));
  if (remover_) plan.total_steps += remover_->tiles(source.pixels, {plan.size.height, plan.size.width, plan.options().tile}) * (with_alpha ? 2 : 1);

  Restored out;
  if (plan.steps > 0) out.notes = backbone_->begin(plan.settings, job);
  out.picture = source;
  out.picture.pixels = restore_pixels(source.pixels, plan, job);
  if (!plan.color_by_tile && options.color_fix != "none") {
    const Tensor style = image::resize(source.pixels, plan.size.height, plan.size.width).unsqueeze(0);
    out.picture.pixels = image::fix_color(options.color_fix, out.picture.pixels.unsqueeze(0), style).squeeze(0).clamp_(0, 1);
  }
  if (with_alpha) {  // its own noise would show as holes: the remover alone
    Plan alpha_plan = plan;
    alpha_plan.steps = 0;
    alpha_plan.searched.clear();
    alpha_plan.watch = {};
    alpha_plan.color_by_tile = false;
    out.picture.alpha = restore_pixels(source.alpha.expand({3, -1, -1}).contiguous(), alpha_plan, job).mean(0, /*keepdim=*/true);
  } else if (source.alpha.defined()) {
    out.picture.alpha = source.alpha.flatten()[0].expand({1, plan.size.height, plan.size.width}).contiguous();
  }

  Json used = fields_to_json(plan.options());
  out.manifest = {{"program", "resflow " RESFLOW_VERSION},
                  {"model", model_json()},
                  {"options", used},
                  {"source", {{"width", source.pixels.size(2)}, {"height", source.pixels.size(1)}, {"format", source.metadata.format}}},
                  {"result", {{"width", plan.size.width}, {"height", plan.size.height}, {"tiles", plan.tiles.size()}}},
                  {"nfe", plan.steps * flow::samplers().make(options.sampler)->calls_per_step()},
                  {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()}};
  if (plan.searches()) {
    out.manifest["options"].update(fields_to_json(plan.search));
    double nfe = 0;
    std::string ended = "done";
    for (const auto& tile : plan.searched) {
      nfe += tile.trace.nfe / static_cast<double>(plan.searched.size());
      if (tile.trace.ended != "done") ended = tile.trace.ended;
    }
    out.manifest["nfe"] = nfe;  // of the mean tile
    out.manifest["search"] = {{"plain_nfe", plan.searched.front().trace.plain_nfe}, {"ended", ended}};
    out.searched = std::move(plan.searched);
  }
  out.tiles = std::move(plan.tiles);
  return out;
}

Tensor Restorer::restore_pixels(const Tensor& pixels, const Plan& plan, const Job& job) const {
  const int64_t multiple = backbone_->multiple();
  const int64_t height = image::padded_size(plan.size.height, multiple), width = image::padded_size(plan.size.width, multiple);
  const auto tile_done = [&] { job.report({.stage = "restore", .done = ++plan.steps_done, .of = plan.total_steps}); };
  const ReferenceNetwork::Target wanted{.height = plan.size.height, .width = plan.size.width, .tile = plan.options().tile};
  const Tensor clean = remover_ ? remover_->enlarge(pixels, wanted, {.job = job, .on_tile = tile_done}) : Tensor();
  image::TileBlender blender(3, height, width, plan.tiles);
  for (const auto& tile : plan.tiles) {
    if (!plan.searches()) job.throw_if_stopped();
    // Enlarged tile by tile: the whole enlarged picture is never held.
    const Tensor enlarged = tile_of(pixels, plan.size, tile, image::Kernel::bicubic);
    const Tensor reference = clean.defined() ? tile_of(clean, plan.size, tile, image::Kernel::lanczos) : Tensor();
    const Tensor restored = restore_tile(enlarged, reference, tile, plan, job);  // [3, h, w]
    tell_estimate([&] { return restored; }, tile, plan);
    blender.add(tile, restored);
  }
  return blender.result().narrow(1, 0, plan.size.height).narrow(2, 0, plan.size.width).clamp_(0, 1).contiguous();
}

Tensor Restorer::restore_tile(const Tensor& enlarged, const Tensor& reference, const image::Tile& tile, const Plan& plan, const Job& job) const {
  const auto report = [&] { job.report({.stage = "restore", .done = ++plan.steps_done, .of = plan.total_steps}); };
  models::CompactRemover::Output removed;
  const double mix = reference.defined() ? plan.options().reference_mix : 0;
  // The compact flow has learnt to read its own remover's features, whosever the reference is.
  if (mix < 1 || (plan.steps > 0 && backbone_->reads_features())) removed = compact_->remover.forward(enlarged.to(device_, dtype_));
  Tensor restored = mix < 1 ? removed.reference.to(at::kFloat) : reference.to(device_, at::kFloat);  // [1, 3, h, w]
  if (mix > 0 && mix < 1) restored = restored.lerp(reference.to(device_, at::kFloat), mix);
  if (plan.steps > 0) {
    // One noise field for the whole picture: tiles agree where they overlap.
    const TileFlow part = backbone_->tile({.tile = tile, .enlarged = enlarged, .reference = restored, .features = removed.features}, plan.settings);
    const auto sampler = flow::samplers().make(plan.options().sampler);
    if (plan.searches()) {
      restored = search_tile(enlarged, {part, restored, *sampler}, tile, plan, job);
    } else {
      const Tensor z = search::start_sample(part.coordinates, part.noise(plan.noise), part.sigmas.front());
      const flow::VelocityFn watched = [&](const Tensor& at, double t) {
        const Tensor v = part.velocity(at, t);
        tell_estimate([&] { return part.preview(flow::predict_x0(at, v, t)); }, tile, plan);
        return v;
      };
      restored = part.decode(flow::denoise(watched, z, part.sigmas, *sampler, {.on_progress = [&](const Progress&) { report(); }, .stop = job.stop}));
    }
  } else {
    report();
  }
  return color_fixed(restored.to(at::kCPU, at::kFloat), enlarged, plan).squeeze(0);
}

void Restorer::tell_estimate(const std::function<Tensor()>& x0, const image::Tile& tile, const Plan& plan) {
  if (!plan.watch.on_estimate || !plan.watch.wants_estimate || !plan.watch.wants_estimate()) return;
  const image::Region part{
      .y = tile.y, .x = tile.x, .height = std::min(tile.height, plan.size.height - tile.y), .width = std::min(tile.width, plan.size.width - tile.x)};
  const Tensor estimate = x0();  // [.., 3, h, w]; of a judged candidate already without the padding
  const Tensor inside = estimate.reshape({3, estimate.size(-2), estimate.size(-1)}).narrow(1, 0, part.height).narrow(2, 0, part.width);
  plan.watch.on_estimate(part, inside.to(at::kCPU, at::kFloat).clamp(0, 1));
}

Tensor Restorer::color_fixed(const Tensor& restored, const Tensor& enlarged, const Plan& plan) {
  return plan.color_by_tile ? image::fix_color(plan.options().color_fix, restored, enlarged) : restored;
}

Tensor Restorer::search_tile(const Tensor& enlarged, const Sampling& sampling, const image::Tile& tile, const Plan& plan, const Job& job) const {
  // Beyond the picture's edge there is nothing to judge.
  const int64_t height = std::min(tile.height, plan.size.height - tile.y), width = std::min(tile.width, plan.size.width - tile.x);
  const auto inside = [&](const Tensor& x) { return x.slice(2, 0, height).slice(3, 0, width); };
  // The tile of the source, on a grid that begins at the tile's corner.
  const auto share = [](int64_t of_result, int64_t source, int64_t result) {
    return std::clamp<int64_t>(std::llround(static_cast<double>(of_result) * static_cast<double>(source) / static_cast<double>(result)), 1,
                               of_result);
  };
  const Tensor lq = image::resize(inside(enlarged).squeeze(0), share(height, plan.source.height, plan.size.height),
                                  share(width, plan.source.width, plan.size.width));  // [3, h', w']

  search::SearchOptions options = plan.search;
  const auto done = plan.searched.size(), tiles = plan.tiles.size();
  const TileFlow& part = sampling.flow;
  search::SearchProblem problem{.velocity = part.velocity, .coordinates = part.coordinates, .sigmas = part.sigmas, .sampler = &sampling.sampler};
  problem.draw_noise = [&](std::string_view purpose, uint64_t index) {
    const bool plain = purpose == "start" && index == 0;
    return part.noise(plain ? plan.noise : plan.noise.child(purpose, index));
  };
  problem.decode = [&](const Tensor& x0) { return inside(part.preview(x0)).clamp(0, 1); };
  problem.judges = panel_->judges({.lq = lq.clamp(0, 1).unsqueeze(0), .reference = inside(sampling.reference).clamp(0, 1)});
  problem.on_candidate = [&](const search::TraceCandidate& candidate, const Tensor& image) {
    if (plan.watch.on_candidate) plan.watch.on_candidate(done, candidate, image);
    tell_estimate([&] { return image; }, tile, plan);
  };
  problem.job.stop = job.stop;
  problem.job.on_progress = [&](const Progress& p) {
    job.report({.stage = "search", .done = static_cast<int64_t>(done) * p.of + p.done, .of = static_cast<int64_t>(tiles) * p.of});
  };
  if (options.time > 0) {
    const double spent = std::chrono::duration<double>(std::chrono::steady_clock::now() - plan.begun).count();
    options.time = (options.time - spent) / static_cast<double>(tiles - done);
  }
  // A search that has no time left at all would return what it starts from: one plain sample is owed.
  const bool over = done > 0 && (job.stop.stop_requested() || (plan.search.time > 0 && options.time <= 0));
  if (over) {
    options.strategy = "none";
    options.time = 0;
    problem.job.stop = {};
  }
  auto result = search::search(problem, options);
  if (over) result.trace.ended = job.stop.stop_requested() ? "stopped" : "time";
  if (plan.watch.on_tile) {
    const auto pixels = [&](const Tensor& x0) {
      return color_fixed(part.decode(x0).to(at::kCPU, at::kFloat).clamp(0, 1), enlarged, plan).squeeze(0);
    };
    std::vector<std::pair<int64_t, Tensor>> finished;
    for (const auto& candidate : result.candidates) finished.emplace_back(candidate.id, pixels(candidate.x0));
    if (!result.finished) finished.emplace_back(result.trace.winner, pixels(result.x0));
    plan.watch.on_tile(done, result.trace, finished);
  }
  plan.searched.push_back({.region = {.y = tile.y, .x = tile.x, .height = height, .width = width}, .trace = std::move(result.trace)});
  return part.decode(result.x0).clamp(0, 1);  // as it was judged, and as a picked one is kept
}

}  // namespace resflow::restore
