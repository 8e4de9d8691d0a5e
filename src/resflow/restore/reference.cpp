#include "resflow/restore/reference.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <filesystem>

#include "resflow/core/error.h"
#include "resflow/image/tiles.h"
#include "resflow/models/esrgan/file.h"
#include "resflow/weights/fingerprint.h"
#include "resflow/weights/public_weights.h"

namespace resflow::restore {
namespace {

constexpr double kMostPixels = 1e9;
constexpr int64_t kMultiple = 4;  // a whole number of every network's

// Tiles of the source, padded to kMultiple.
std::vector<image::Tile> tiles_of(const Tensor& pixels, int64_t tile, int64_t scale) {
  const int64_t side = std::max(tile / scale, 2 * ReferenceNetwork::kMargin) + 2 * ReferenceNetwork::kMargin;
  return image::plan_tiles(image::padded_size(pixels.size(1), kMultiple), image::padded_size(pixels.size(2), kMultiple), side,
                           2 * ReferenceNetwork::kMargin, kMultiple);
}

}  // namespace

ReferenceNetwork::ReferenceNetwork(const std::string& file, c10::Device device, c10::ScalarType dtype) : device_(device) {
  const auto tensors = models::open_esrgan(weights::pulled_or_path(file));
  name_ = tensors.path().filename().string();
  fingerprint_ = weights::fingerprint(tensors);
  network_ = models::load_esrgan(tensors, device, dtype);
}

int64_t ReferenceNetwork::tiles(const Tensor& pixels, int64_t tile) const { return static_cast<int64_t>(tiles_of(pixels, tile, scale()).size()); }

Tensor ReferenceNetwork::enlarge(const Tensor& pixels, int64_t tile, const Watch& watch) const {
  const int64_t height = pixels.size(1), width = pixels.size(2), by = scale();
  const double result = static_cast<double>(height * by) * static_cast<double>(width * by);
  if (result > kMostPixels)
    throw_user_error({.where = "real-esrgan",
                      .problem = fmt::format("the picture is too large for {}, which enlarges {} times", name_, by),
                      .wanted = fmt::format("at most {:.0f} Mpx", kMostPixels / static_cast<double>(by * by) / 1e6),
                      .got = fmt::format("{}x{} = {:.0f} Mpx", width, height, result / static_cast<double>(by * by) / 1e6)});
  c10::InferenceMode inference;
  const Tensor padded = image::pad_to_multiple(pixels, kMultiple);
  const auto sources = tiles_of(pixels, tile, by);
  std::vector<image::Tile> results;
  for (const auto& t : sources) results.push_back({.y = t.y * by, .x = t.x * by, .height = t.height * by, .width = t.width * by});
  // A ramp over two thirds of what tiles share: where a tile counts it sees at least kMargin / 3 pixels beyond.
  image::TileBlender blender(3, padded.size(1) * by, padded.size(2) * by, results, {.feather = kMargin * 4 / 3 * by});
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
