#include "resflow/train/dataset.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <chrono>

#include "resflow/degradation/degradation.h"

namespace resflow::train {
namespace {

// Pixels degraded beyond each side of a crop, so that a crop's border looks like the inside of a photograph.
constexpr int64_t kMargin = 16;

std::vector<Tensor> open_images(const std::string& path, int64_t smallest) {
  std::vector<Tensor> images;
  const auto file = weights::TensorFile::open(path);
  for (const auto& name : file.names()) {
    const Tensor image = file.get(name);
    if (image.scalar_type() != at::kByte || image.dim() != 3 || image.size(0) != 3)
      throw_user_error({.where = path,
                        .problem = "tensor '" + name + "' is not a packed image",
                        .wanted = "uint8 [3, H, W]",
                        .got = c10::str(image.scalar_type(), " ", image.sizes()),
                        .hint = "Make shards with `resflow pack`"});
    if (image.size(1) >= smallest && image.size(2) >= smallest) images.push_back(image);
  }
  if (images.empty()) throw_user_error({.where = path, .problem = "no usable image", .wanted = fmt::format("sides of at least {} px", smallest)});
  return images;
}

Tensor turned(Tensor image, int64_t turn) {  // one of the eight symmetries of the square
  if (turn & 1) image = image.flip({1});
  if (turn & 2) image = image.flip({2});
  if (turn & 4) image = image.transpose(1, 2);
  return image;
}

}  // namespace

Tensor enlarge(const Tensor& lq, int64_t height, int64_t width) {
  if (lq.size(1) == height && lq.size(2) == width) return lq;
  return at::_upsample_bicubic2d_aa(lq.unsqueeze(0), {height, width}, /*align_corners=*/false).squeeze(0).clamp(0, 1);
}

Dataset::Dataset(const TrainOptions& options) : options_(options) {
  if (options.data.empty())
    throw_user_error({.where = "train", .problem = "no training data", .hint = "Set `data` to shards made by `resflow pack`"});
  if (options.recipes.size() != options.recipe_weights.size() || options.scales.size() != options.scale_weights.size())
    throw_user_error({.where = "train", .problem = "recipes and recipe_weights, scales and scale_weights must be lists of equal length"});
  for (const auto& name : options.recipes) degradation::recipe(name);  // an unknown name fails here, not in a thread
  for (const auto& path : options.data)
    for (auto& image : open_images(path, options.crop)) images_.push_back(std::move(image));
}

Pair Dataset::pair(int64_t index) const {
  Stream draw(static_cast<uint64_t>(options_.seed), "train.pair", static_cast<uint64_t>(index));
  const auto weighted = [&](const std::vector<double>& weights) {
    double at = draw.uniform() * at::sum(at::tensor(weights)).item<double>();
    size_t i = 0;
    while (i + 1 < weights.size() && at >= weights[i]) at -= weights[i++];
    return i;
  };
  const Tensor& image = images_[static_cast<size_t>(draw.integer(0, static_cast<int64_t>(images_.size()) - 1))];
  const auto scale = static_cast<int>(options_.scales[weighted(options_.scale_weights)]);
  const auto& recipe = degradation::recipe(options_.recipes[weighted(options_.recipe_weights)]);

  const int64_t crop = options_.crop;
  const auto side = [&](int64_t length) { return std::min(length / scale * scale, crop + 2 * kMargin); };
  const int64_t height = side(image.size(1)), width = side(image.size(2));
  const int64_t y = draw.integer(0, image.size(1) - height), x = draw.integer(0, image.size(2) - width);
  const Tensor region = turned(image.slice(1, y, y + height).slice(2, x, x + width), draw.integer(0, 7)).to(at::kFloat).div(255).contiguous();
  const Tensor lq = degradation::degrade(region, recipe, scale, draw.child("degrade"));

  const int64_t top = (region.size(1) - crop) / 2, left = (region.size(2) - crop) / 2;
  const auto cut = [&](const Tensor& t) { return t.slice(1, top, top + crop).slice(2, left, left + crop); };
  return {cut(region), cut(enlarge(lq, region.size(1), region.size(2)))};
}

std::vector<Pair> validation_pairs(const TrainOptions& options) {
  std::vector<Pair> pairs;
  if (options.validation.empty()) return pairs;
  const auto images = open_images(options.validation, 64);
  for (size_t i = 0; i < images.size(); ++i) {
    const auto side = [&](int64_t length) { return std::min(length, options.validation_crop) / 16 * 16; };
    const int64_t height = side(images[i].size(1)), width = side(images[i].size(2));
    const int64_t y = (images[i].size(1) - height) / 2, x = (images[i].size(2) - width) / 2;
    const Tensor clean = images[i].slice(1, y, y + height).slice(2, x, x + width).to(at::kFloat).div(255).contiguous();
    const auto& recipe = degradation::recipe(options.recipes[i % options.recipes.size()]);
    // A fixed seed: validation does not change with the run's.
    pairs.push_back({clean, enlarge(degradation::degrade(clean, recipe, 4, Stream(48, "validation", i)), height, width)});
  }
  return pairs;
}

BatchLoader::BatchLoader(const Dataset& dataset, int64_t batch, int64_t first_batch, int64_t loaders)
    : dataset_(dataset), batch_(batch), next_to_make_(first_batch), next_to_give_(first_batch) {
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
      const auto room = [&] { return next_to_make_ < next_to_give_ + 2 * static_cast<int64_t>(threads_.size()) + 6; };
      if (!wanted_.wait(lock, stop, room)) return;
      number = next_to_make_++;
    }
    try {
      std::vector<Tensor> clean, degraded;
      for (int64_t i = 0; i < batch_; ++i) {
        Pair pair = dataset_.pair(number * batch_ + i);
        clean.push_back(std::move(pair.clean));
        degraded.push_back(std::move(pair.degraded));
      }
      Batch made{at::stack(clean), at::stack(degraded)};
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
