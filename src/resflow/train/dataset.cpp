#include "resflow/train/dataset.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <tuple>

#include "resflow/degradation/degradation.h"
#include "resflow/train/told.h"

namespace resflow::train {
namespace {

constexpr int64_t kLargestScale = 8;  // of a picture that was packed with its degraded one, as of `scales`

Tensor packed_image(const weights::TensorFile& file, const std::string& path, const std::string& name) {
  Tensor image = file.get(name);
  if (image.scalar_type() != at::kByte || image.dim() != 3 || image.size(0) != 3)
    throw_user_error({.where = path,
                      .problem = "tensor '" + name + "' is not a packed image",
                      .wanted = "uint8 [3, H, W]",
                      .got = c10::str(image.scalar_type(), " ", image.sizes()),
                      .hint = "Make shards with `resflow pack`"});
  return image;
}

// What company a packed picture has in its shard.
Source open_source(const weights::TensorFile& file, const std::string& path, const std::string& name) {
  Source source{.clean = packed_image(file, path, name), .degraded = {}, .taught = {}};
  const std::string degraded = name + std::string(kDegraded), taught = name + std::string(kTaught);
  if (!file.contains(degraded) && !file.contains(taught)) return source;
  if (!file.contains(degraded) || !file.contains(taught))
    throw_user_error({.where = path, .problem = "'" + name + "' has only one of its degraded and its taught picture"});
  source.degraded = packed_image(file, path, degraded);
  source.taught = packed_image(file, path, taught);
  const auto [clean, small] = std::pair(source.clean.sizes(), source.degraded.sizes());
  const int64_t scale = small[1] > 0 ? clean[1] / small[1] : 0;
  if (source.taught.sizes() != clean || scale < 1 || scale > kLargestScale || clean[1] != scale * small[1] || clean[2] != scale * small[2])
    throw_user_error({.where = path,
                      .problem = "'" + name + "' and its company do not fit",
                      .wanted = "taught as large as clean, degraded a whole number of times smaller, 8 at most",
                      .got = c10::str("clean ", clean, ", degraded ", small, ", taught ", source.taught.sizes())});
  return source;
}

std::vector<Source> open_sources(const std::string& path, int64_t smallest) {
  std::vector<Source> sources;
  const auto file = weights::TensorFile::open(path);
  for (const auto& name : file.names()) {
    if (name.ends_with(kDegraded) || name.ends_with(kTaught)) continue;
    Source source = open_source(file, path, name);
    if (source.clean.size(1) >= smallest && source.clean.size(2) >= smallest) sources.push_back(std::move(source));
  }
  if (sources.empty()) throw_user_error({.where = path, .problem = "no usable image", .wanted = fmt::format("sides of at least {} px", smallest)});
  return sources;
}

Tensor centre(const Tensor& image, int64_t crop) {
  const int64_t top = (image.size(1) - crop) / 2, left = (image.size(2) - crop) / 2;
  return image.slice(1, top, top + crop).slice(2, left, left + crop);
}

Batch stacked(const std::vector<Pair>& pairs) {
  std::vector<Tensor> clean, degraded, taught, small, words;
  std::vector<int64_t> places, known;
  for (size_t i = 0; i < pairs.size(); ++i) {
    clean.push_back(pairs[i].clean);
    degraded.push_back(pairs[i].degraded);
    words.push_back(pairs[i].words);
    taught.push_back(pairs[i].taught.defined() ? pairs[i].taught : pairs[i].clean);
    known.push_back(pairs[i].taught.defined() ? 1 : 0);
    if (!pairs[i].small.defined()) continue;
    small.push_back(pairs[i].small);
    places.push_back(static_cast<int64_t>(i));
  }
  const bool any = std::find(known.begin(), known.end(), 1) != known.end();
  return {.clean = at::stack(clean),
          .degraded = at::stack(degraded),
          .taught = any ? at::stack(taught) : Tensor(),
          .known = any ? at::tensor(known, at::kLong).to(at::kBool) : Tensor(),
          .small = small.empty() ? Tensor() : at::stack(small),
          .places = small.empty() ? Tensor() : at::tensor(places, at::kLong),
          .words = at::stack(words)};
}

// degradation::degrade(), and the words for what it did.
std::pair<Tensor, Tensor> degraded(const Tensor& image, const degradation::Recipe& recipe, int scale, const Stream& stream) {
  const auto plan = degradation::draw_plan(recipe, stream.child("plan"));
  return {degradation::apply_plan(image, plan, scale, stream), models::word_numbers(words_for(plan, scale))};
}

}  // namespace

Tensor turned(Tensor pictures, int64_t turn) {
  if (turn & 1) pictures = pictures.flip({-2});
  if (turn & 2) pictures = pictures.flip({-1});
  if (turn & 4) pictures = pictures.transpose(-2, -1);
  return pictures;
}

Tensor enlarge(const Tensor& lq, int64_t height, int64_t width) {
  if (lq.size(1) == height && lq.size(2) == width) return lq;
  return at::_upsample_bicubic2d_aa(lq.unsqueeze(0), {height, width}, /*align_corners=*/false).squeeze(0).clamp(0, 1);
}

Dataset::Dataset(const TrainOptions& options, int64_t teacher_scale) : options_(options), teacher_scale_(teacher_scale) {
  if (options.data.empty())
    throw_user_error({.where = "train", .problem = "no training data", .hint = "Set `data` to shards made by `resflow pack`"});
  if (options.recipes.size() != options.recipe_weights.size() || options.scales.size() != options.scale_weights.size())
    throw_user_error({.where = "train", .problem = "recipes and recipe_weights, scales and scale_weights must be lists of equal length"});
  for (const auto& name : options.recipes) degradation::recipe(name);  // an unknown name fails here, not in a thread
  for (const auto& path : options.data)
    for (auto& source : open_sources(path, options.crop)) images_.push_back(std::move(source));
}

Pair Dataset::pair(int64_t index) const {
  Stream draw(static_cast<uint64_t>(options_.seed), "train.pair", static_cast<uint64_t>(index));
  const Source& source = images_[static_cast<size_t>(draw.integer(0, static_cast<int64_t>(images_.size()) - 1))];
  return source.taught.defined() ? taught_pair(source, draw) : degraded_pair(source, draw);
}

Pair Dataset::taught_pair(const Source& source, Stream& draw) const {
  const int64_t scale = source.clean.size(1) / source.degraded.size(1), crop = options_.crop;
  // In pixels of the degraded picture: the crop and its margin, where there is room for one.
  const auto side = [&](int64_t length) { return std::min(length, (crop + 2 * kMargin) / scale); };
  const int64_t height = side(source.degraded.size(1)), width = side(source.degraded.size(2));
  const int64_t y = draw.integer(0, source.degraded.size(1) - height), x = draw.integer(0, source.degraded.size(2) - width);
  const int64_t turn = draw.integer(0, 7);
  const auto region = [&](const Tensor& image, int64_t by) {
    return turned(image.slice(1, y * by, (y + height) * by).slice(2, x * by, (x + width) * by), turn).to(at::kFloat).div(255).contiguous();
  };
  const Tensor clean = region(source.clean, scale);
  const Tensor degraded = enlarge(region(source.degraded, 1), clean.size(1), clean.size(2));
  return {.clean = centre(clean, crop),
          .degraded = centre(degraded, crop),
          .taught = centre(region(source.taught, scale), crop),
          .small = {},
          .words = models::word_numbers({})};
}

Pair Dataset::degraded_pair(const Source& source, Stream& draw) const {
  const auto weighted = [&](const std::vector<double>& weights) {
    double at = draw.uniform() * at::sum(at::tensor(weights)).item<double>();
    size_t i = 0;
    while (i + 1 < weights.size() && at >= weights[i]) at -= weights[i++];
    return i;
  };
  const Tensor& image = source.clean;
  const auto scale = static_cast<int>(options_.scales[weighted(options_.scale_weights)]);
  const auto& recipe = degradation::recipe(options_.recipes[weighted(options_.recipe_weights)]);

  const int64_t crop = options_.crop;
  const auto side = [&](int64_t length) { return std::min(length / scale * scale, crop + 2 * kMargin); };
  const int64_t height = side(image.size(1)), width = side(image.size(2));
  const int64_t y = draw.integer(0, image.size(1) - height), x = draw.integer(0, image.size(2) - width);
  const Tensor region = turned(image.slice(1, y, y + height).slice(2, x, x + width), draw.integer(0, 7)).to(at::kFloat).div(255).contiguous();
  const auto [lq, words] = degraded(region, recipe, scale, draw.child("degrade"));

  // All that a batch shows its teacher are of one size; a picture too small for a whole margin goes without.
  const bool shown = scale == teacher_scale_ && height == crop + 2 * kMargin && width == height;
  return {.clean = centre(region, crop),
          .degraded = centre(enlarge(lq, region.size(1), region.size(2)), crop),
          .taught = {},
          .small = shown ? lq : Tensor(),
          .words = words};
}

std::vector<Pair> validation_pairs(const TrainOptions& options) {
  std::vector<Pair> pairs;
  if (options.validation.empty()) return pairs;
  const auto sources = open_sources(options.validation, 64);
  for (size_t i = 0; i < sources.size(); ++i) {
    const Source& source = sources[i];
    const auto side = [&](int64_t length) { return std::min(length, options.validation_crop) / 16 * 16; };
    const int64_t height = side(source.clean.size(1)), width = side(source.clean.size(2));
    const int64_t scale = source.taught.defined() ? source.clean.size(1) / source.degraded.size(1) : 1;
    const int64_t y = (source.clean.size(1) - height) / 2 / scale,
                  x = (source.clean.size(2) - width) / 2 / scale;  // in the degraded picture's pixels
    const auto region = [&](const Tensor& image, int64_t by) {
      const auto range = [&](int64_t from, int64_t length) { return std::pair(from * by, from * by + length * by / scale); };
      const auto [top, bottom] = range(y, height);
      const auto [left, right] = range(x, width);
      return image.slice(1, top, bottom).slice(2, left, right).to(at::kFloat).div(255).contiguous();
    };
    Pair pair{.clean = region(source.clean, scale), .degraded = {}, .taught = {}, .small = {}, .words = models::word_numbers({})};
    Tensor lq;
    if (source.taught.defined()) {
      lq = region(source.degraded, 1);
      pair.taught = region(source.taught, scale);
    } else {  // a fixed seed: validation does not change with the run's
      const auto& recipe = degradation::recipe(options.recipes[i % options.recipes.size()]);
      std::tie(lq, pair.words) = degraded(pair.clean, recipe, 4, Stream(48, "validation", i));
    }
    pair.degraded = enlarge(lq, height, width);
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

Batch Batch::part(int64_t from, int64_t to) const {
  return {.clean = clean.slice(0, from, to),
          .degraded = degraded.slice(0, from, to),
          .taught = taught.defined() ? taught.slice(0, from, to) : Tensor(),
          .known = known.defined() ? known.slice(0, from, to) : Tensor(),
          .small = {},
          .places = {},
          .words = words.slice(0, from, to)};
}

BatchLoader::BatchLoader(const Dataset& dataset, const BatchPart& part, int64_t first_batch, int64_t loaders, bool pinned)
    : dataset_(dataset), part_(part), next_to_make_(first_batch), next_to_give_(first_batch), ahead_(2 * loaders + 6), pinned_(pinned) {
  for (int64_t i = 0; i < loaders; ++i) threads_.emplace_back([this](std::stop_token stop) { work(stop); });
}

BatchLoader::~BatchLoader() {
  for (auto& thread : threads_) thread.request_stop();
  wanted_.notify_all();
}

void BatchLoader::work(std::stop_token stop) {
  at::set_num_threads(1);
  at::NoGradGuard no_grad;
  while (true) {
    int64_t number = 0;
    {
      std::unique_lock lock(mutex_);
      const auto room = [&] { return next_to_make_ < next_to_give_ + ahead_; };
      if (!wanted_.wait(lock, stop, room)) return;
      number = next_to_make_++;
    }
    try {
      std::vector<Pair> pairs;
      for (int64_t i = part_.from; i < part_.to; ++i) pairs.push_back(dataset_.pair(number * part_.batch + i));
      Batch made = stacked(pairs);
      if (pinned_)
        for (Tensor* tensor : {&made.clean, &made.degraded, &made.taught, &made.small})
          if (tensor->defined()) *tensor = tensor->pin_memory();
      const std::lock_guard lock(mutex_);
      ready_.emplace(number, std::move(made));
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
    }
    made_.notify_all();
  }
}

Batch BatchLoader::next() {
  const auto start = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  made_.wait(lock, [&] { return failure_ != nullptr || ready_.contains(next_to_give_); });
  waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (failure_ != nullptr) std::rethrow_exception(failure_);
  auto node = ready_.extract(next_to_give_++);
  lock.unlock();
  wanted_.notify_all();
  return std::move(node.mapped());
}

}  // namespace resflow::train
