#include "resflow/restore/reference.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <filesystem>

#include "resflow/core/error.h"
#include "resflow/image/resize.h"
#include "resflow/models/esrgan/file.h"
#include "resflow/weights/fingerprint.h"
#include "resflow/weights/public_weights.h"

namespace resflow::restore {
namespace {

constexpr double kMostPixels = 1e9;
constexpr int64_t kMultiple = 4;  // a whole number of each of Real-ESRGAN's networks'

}  // namespace

ReferenceNetwork::ReferenceNetwork(const std::string& file, c10::Device device, c10::ScalarType dtype) : device_(device) {
  const auto tensors = models::open_esrgan(weights::pulled_or_path(file));
  name_ = tensors.path().filename().string();
  fingerprint_ = weights::fingerprint(tensors);
  network_ = models::load_remover_network(tensors, device, dtype);
}

int64_t ReferenceNetwork::multiple() const {
  const int64_t own = network_->multiple();
  return kMultiple % own == 0 ? kMultiple : own;
}

// Tiles of what the network sees, padded.
std::vector<image::Tile> ReferenceNetwork::tiles_of(Size size, int64_t tile) const {
  const int64_t margin = network_->margin(), side = std::max(tile / scale(), 2 * margin) + 2 * margin;
  return image::plan_tiles(image::padded_size(size.height, multiple()), image::padded_size(size.width, multiple()), side, 2 * margin, multiple());
}

ReferenceNetwork::Size ReferenceNetwork::seen(const Tensor& pixels, const Target& target) const {
  const int64_t height = pixels.size(1), width = pixels.size(2);
  if (network_->wants_enlarged() && target.height * target.width > height * width) return {target.height, target.width};
  return {height, width};
}

int64_t ReferenceNetwork::tiles(const Tensor& pixels, const Target& target) const {
  return static_cast<int64_t>(tiles_of(seen(pixels, target), target.tile).size());
}

Tensor ReferenceNetwork::enlarge(const Tensor& pixels, const Target& target, const Watch& watch) const {
  const auto [height, width] = seen(pixels, target);
  const int64_t by = scale();
  const double result = static_cast<double>(height * by) * static_cast<double>(width * by);
  if (result > kMostPixels)
    throw_user_error({.where = "dr-file",
                      .problem = fmt::format("the picture is too large for {}, which makes it {} times as large", name_, by),
                      .wanted = fmt::format("at most {:.0f} Mpx", kMostPixels / static_cast<double>(by * by) / 1e6),
                      .got = fmt::format("{}x{} = {:.0f} Mpx", width, height, result / static_cast<double>(by * by) / 1e6)});
  c10::InferenceMode inference;
  const bool as_it_is = height == pixels.size(1) && width == pixels.size(2);
  const Tensor padded = image::pad_to_multiple(as_it_is ? pixels : image::resize(pixels, height, width).clamp_(0, 1), multiple());
  const auto sources = tiles_of({height, width}, target.tile);
  std::vector<image::Tile> results;
  for (const auto& t : sources) results.push_back({.y = t.y * by, .x = t.x * by, .height = t.height * by, .width = t.width * by});
  // A ramp over two thirds of what tiles share: where a tile counts it sees at least a third of the margin beyond.
  image::TileBlender blender(3, padded.size(1) * by, padded.size(2) * by, results, {.feather = network_->margin() * 4 / 3 * by});
  for (size_t i = 0; i < sources.size(); ++i) {
    watch.job.throw_if_stopped();
    const auto& t = sources[i];
    const Tensor part = padded.narrow(1, t.y, t.height).narrow(2, t.x, t.width).unsqueeze(0).to(device_);  // [1, 3, h, w]
    blender.add(results[i], network_->forward(part).squeeze(0).clamp_(0, 1));
    if (watch.on_tile) watch.on_tile();
  }
  return blender.result().narrow(1, 0, height * by).narrow(2, 0, width * by).contiguous();
}

Json ReferenceNetwork::told() const {
  return {{"name", name_}, {"architecture", network_->architecture()}, {"scale", scale()}, {"fingerprint", fingerprint_}};
}

}  // namespace resflow::restore
