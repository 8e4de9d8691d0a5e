#include "resflow/restore/restorer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "resflow/core/data_path.h"
#include "resflow/core/device.h"
#include "resflow/flow/denoise.h"
#include "resflow/flow/schedule.h"
#include "resflow/image/color_fix.h"
#include "resflow/image/resize.h"
#include "resflow/image/tiles.h"
#include "resflow/restore/assurance.h"
#include "resflow/search/strategy.h"

namespace resflow::restore {
namespace {

constexpr double kMostPixels = 1e9;
constexpr int64_t kMultiple = models::CompactFlow::kMultiple;

// A tile of [3, h, w] of the result, of `picture` enlarged (or made smaller) to the result's size; beyond its edge it is padded. -> [1, 3, h, w]
Tensor tile_of(const Tensor& picture, Size size, const image::Tile& tile, image::Kernel kernel) {
  const image::Region inside{
      .y = tile.y, .x = tile.x, .height = std::min(tile.height, size.height - tile.y), .width = std::min(tile.width, size.width - tile.x)};
  const Tensor part = image::resize_region(picture, size.height, size.width, inside, kernel).clamp_(0, 1).unsqueeze(0);
  if (inside.height == tile.height && inside.width == tile.width) return part;
  return at::replication_pad2d(part, {0, tile.width - inside.width, 0, tile.height - inside.height});
}

bool constant(const Tensor& plane) { return plane.min().item<float>() == plane.max().item<float>(); }

}  // namespace

void check_options(const RestoreOptions& options) {
  check_fields(options);
  if ((options.width > 0 || options.height > 0) && options.scale > 0)
    throw_user_error({.where = "restore", .problem = "--scale together with --width or --height", .hint = "Give one or the other"});
  if (options.tile / kMultiple <= image::padded_size(options.overlap, kMultiple) / kMultiple)
    throw_user_error({.where = "restore",
                      .problem = "--tile is too small for --overlap",
                      .wanted = fmt::format("a tile of more than {} px", options.overlap + kMultiple - 1),
                      .got = std::to_string(options.tile),
                      .hint = "Raise --tile or lower --overlap"});
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

std::filesystem::path model_path(const std::string& name) {
  if (name == "compact") return data_file("weights/compact.safetensors");
  if (!std::filesystem::exists(name))
    throw_user_error({.where = "model", .problem = "no such model", .wanted = "compact, or the path of a weight file", .got = name});
  return name;
}

Restorer::Restorer(const ModelOptions& options)
    : options_(options),
      device_(parse_device(options.device)),
      dtype_(parse_dtype(options.dtype, device_)),
      model_(models::CompactModel::load(model_path(options.model), device_, dtype_)) {
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
  RestoreOptions options;
  search::SearchOptions search;  // strategy "none": no search
  int64_t steps = 0;
  double sigma_s = 0, strength = 1;
  std::vector<double> sigmas;
  std::vector<image::Tile> tiles;  // of the padded result
  Stream noise;
  bool color_by_tile = false;
  int64_t total_steps = 0;
  mutable int64_t steps_done = 0;
  std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();
  mutable std::vector<SearchedTile> searched;
  SearchWatch watch;

  bool searches() const { return search.strategy != "none" && !sigmas.empty(); }
};

Restored Restorer::restore(const image::Picture& source, const RestoreOptions& options, const search::SearchOptions& search, const Job& job,
                           const SearchWatch& watch) const {
  check_options(options);
  search::check_search(search);
  prepare(search, options.caption);
  c10::InferenceMode inference;
  Restored made = restore_once(source, options, search, job, watch);
  assure(source, options, made, [&](const RestoreOptions& safer) { return restore_once(source, safer, {}, job, {}); });
  return made;
}

Restored Restorer::restore_once(const image::Picture& source, const RestoreOptions& options, const search::SearchOptions& search, const Job& job,
                                const SearchWatch& watch) const {
  const auto start = std::chrono::steady_clock::now();
  Plan plan{.size = target_size(options, {.width = source.pixels.size(2), .height = source.pixels.size(1)}),
            .source = {.width = source.pixels.size(2), .height = source.pixels.size(1)},
            .options = options,
            .search = search,
            .noise = Stream(static_cast<uint64_t>(options.seed), "restore.noise"),
            .watch = watch};
  plan.search.seed = options.seed;
  const bool searches = search.strategy != "none";
  plan.steps = options.steps > 0 ? options.steps : searches ? model_->defaults.search_steps : model_->defaults.steps;
  plan.sigma_s = options.sigma_s > 0 ? options.sigma_s : searches ? model_->defaults.search_sigma_s : model_->defaults.sigma_s;
  plan.strength = options.strength;
  if (plan.strength > 0) {
    const double mu = model_->flow.time_shift(plan.sigma_s), first = flow::shift_sigmas({plan.strength}, -mu)[0];
    plan.sigmas = flow::shift_sigmas(flow::linear_sigmas(static_cast<int>(plan.steps), first), mu);
  }
  const int64_t height = image::padded_size(plan.size.height, kMultiple), width = image::padded_size(plan.size.width, kMultiple);
  plan.tiles = image::plan_tiles(height, width, options.tile, options.overlap, kMultiple);
  // A wavelet's reach is smaller than a tile; the other fixes need the statistics of the whole picture.
  plan.color_by_tile = options.color_fix == "wavelet";
  const bool with_alpha = source.alpha.defined() && !constant(source.alpha);
  const auto per_tile = static_cast<int64_t>(plan.sigmas.empty() ? 1 : plan.sigmas.size() - 1);
  plan.total_steps = static_cast<int64_t>(plan.tiles.size()) * (per_tile + (with_alpha ? 1 : 0));
  if (remover_) plan.total_steps += remover_->tiles(source.pixels, {plan.size.height, plan.size.width, options.tile}) * (with_alpha ? 2 : 1);

  Restored out;
  out.picture = source;
  out.picture.pixels = restore_pixels(source.pixels, plan, job);
  if (!plan.color_by_tile && options.color_fix != "none") {
    const Tensor style = image::resize(source.pixels, plan.size.height, plan.size.width).unsqueeze(0);
    out.picture.pixels = image::fix_color(options.color_fix, out.picture.pixels.unsqueeze(0), style).squeeze(0).clamp_(0, 1);
  }
  if (with_alpha) {  // its own noise would show as holes: the remover alone
    Plan alpha_plan = plan;
    alpha_plan.strength = 0;
    alpha_plan.sigmas.clear();
    alpha_plan.searched.clear();
    alpha_plan.watch = {};
    alpha_plan.color_by_tile = false;
    out.picture.alpha = restore_pixels(source.alpha.expand({3, -1, -1}).contiguous(), alpha_plan, job).mean(0, /*keepdim=*/true);
  } else if (source.alpha.defined()) {
    out.picture.alpha = source.alpha.flatten()[0].expand({1, plan.size.height, plan.size.width}).contiguous();
  }

  Json used = fields_to_json(options);
  used["steps"] = plan.steps;
  used["sigma_s"] = plan.sigma_s;
  out.manifest = {
      {"program", "resflow " RESFLOW_VERSION},
      {"model", {{"name", options_.model}, {"fingerprint", model_->fingerprint}, {"device", device_.str()}, {"dtype", dtype_name(dtype_)}}},
      {"options", used},
      {"source", {{"width", source.pixels.size(2)}, {"height", source.pixels.size(1)}, {"format", source.metadata.format}}},
      {"result", {{"width", plan.size.width}, {"height", plan.size.height}, {"tiles", plan.tiles.size()}}},
      {"nfe", plan.sigmas.empty() ? 0 : per_tile * flow::samplers().make(options.sampler)->calls_per_step()},
      {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()}};
  if (remover_) out.manifest["model"]["remover"] = remover_->told();
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
  const int64_t height = image::padded_size(plan.size.height, kMultiple), width = image::padded_size(plan.size.width, kMultiple);
  const auto tile_done = [&] { job.report({.stage = "restore", .done = ++plan.steps_done, .of = plan.total_steps}); };
  const ReferenceNetwork::Target wanted{.height = plan.size.height, .width = plan.size.width, .tile = plan.options.tile};
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
  const Tensor image = enlarged.to(device_, dtype_);
  // The flow has learnt to read its own remover's features, whosever the reference is.
  models::CompactRemover::Output removed;
  const double mix = reference.defined() ? plan.options.reference_mix : 0;
  if (plan.strength > 0 || mix < 1) removed = model_->remover.forward(image);
  Tensor restored = mix < 1 ? removed.reference.to(at::kFloat) : reference.to(device_, at::kFloat);  // [1, 3, h, w]
  if (mix > 0 && mix < 1) restored = restored.lerp(reference.to(device_, at::kFloat), mix);
  if (plan.strength > 0) {
    const auto condition = model_->flow.prepare(image, {.reference = restored, .features = removed.features});
    const auto times = [&](double value, int64_t count) { return at::full({count}, value, at::TensorOptions().dtype(at::kFloat).device(device_)); };
    const flow::VelocityFn velocity = [&](const Tensor& z, double t) {
      return model_->flow.velocity(z, times(t, z.size(0)), times(plan.sigma_s, z.size(0)), condition);
    };
    // One noise field for the whole picture: tiles agree where they overlap. Strength below 1 starts nearer to y*.
    const auto draw = [&](const Stream& field) {
      return (noise_window(field, 3, tile.y, tile.x, tile.height, tile.width) + model_->flow.shared_noise(field)).to(device_);
    };
    const auto sampler = flow::samplers().make(plan.options.sampler);
    if (plan.searches()) {
      restored = search_tile(enlarged, {velocity, restored, *sampler, draw}, tile, plan, job);
    } else {
      const Tensor z = restored + plan.sigmas.front() * plan.sigma_s * draw(plan.noise);
      const flow::VelocityFn watched = [&](const Tensor& at, double t) {
        const Tensor v = velocity(at, t);
        tell_estimate([&] { return flow::predict_x0(at, v, t); }, tile, plan);
        return v;
      };
      restored = flow::denoise(watched, z, plan.sigmas, *sampler, {.on_progress = [&](const Progress&) { report(); }, .stop = job.stop});
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
  return plan.color_by_tile ? image::fix_color(plan.options.color_fix, restored, enlarged) : restored;
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
  search::SearchProblem problem{.velocity = sampling.velocity,
                                .coordinates = {.center = sampling.reference, .sigma_s = plan.sigma_s},
                                .sigmas = plan.sigmas,
                                .sampler = &sampling.sampler};
  problem.draw_noise = [&](std::string_view purpose, uint64_t index) {
    const bool plain = purpose == "start" && index == 0;
    return sampling.draw(plain ? plan.noise : plan.noise.child(purpose, index));
  };
  problem.decode = [&](const Tensor& x0) { return inside(x0).clamp(0, 1); };
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
  // A search that has no time left at all would return y*: one plain sample is owed.
  const bool over = done > 0 && (job.stop.stop_requested() || (plan.search.time > 0 && options.time <= 0));
  if (over) {
    options.strategy = "none";
    options.time = 0;
    problem.job.stop = {};
  }
  auto result = search::search(problem, options);
  if (over) result.trace.ended = job.stop.stop_requested() ? "stopped" : "time";
  if (plan.watch.on_tile) {
    const auto pixels = [&](const Tensor& x0) { return color_fixed(x0.to(at::kCPU, at::kFloat).clamp(0, 1), enlarged, plan).squeeze(0); };
    std::vector<std::pair<int64_t, Tensor>> finished;
    for (const auto& candidate : result.candidates) finished.emplace_back(candidate.id, pixels(candidate.x0));
    if (!result.finished) finished.emplace_back(result.trace.winner, pixels(result.x0));
    plan.watch.on_tile(done, result.trace, finished);
  }
  plan.searched.push_back({.region = {.y = tile.y, .x = tile.x, .height = height, .width = width}, .trace = std::move(result.trace)});
  return result.x0.clamp(0, 1);  // as it was judged, and as a picked one is kept
}

}  // namespace resflow::restore
