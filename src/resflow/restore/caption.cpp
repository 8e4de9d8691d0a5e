#include "resflow/restore/caption.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace resflow::restore {

std::string caption_of(const captioning::Captioner& captioner, const Restorer& restorer, const CaptionedPicture& of, const Job& job) {
  constexpr int64_t most = 512;
  const auto cleaned = [&] {
    const int64_t h = of.picture.pixels.size(1), w = of.picture.pixels.size(2);
    RestoreOptions options;
    options.strength = 0;
    options.checks = false;
    const Size size = target_size(options, {.width = w, .height = h});
    const double shrink = std::min(1.0, static_cast<double>(most) / static_cast<double>(std::max(size.width, size.height)));
    options.width = std::max<int64_t>(1, std::llround(static_cast<double>(size.width) * shrink));
    options.height = std::max<int64_t>(1, std::llround(static_cast<double>(size.height) * shrink));
    image::Picture colours;
    colours.pixels = of.picture.pixels;
    return restorer.restore(colours, options, Job{.stop = job.stop}).picture.pixels;
  };
  return captioner.caption({.file = of.file, .pixels = cleaned, .stop = job.stop});
}

}  // namespace resflow::restore
