#include "resflow/generate/conditions.h"

#include <ATen/ATen.h>

#include "resflow/image/resize.h"
#include "resflow/models/tokens.h"

namespace resflow::generate {
namespace {

// One side after the other, and no overshoot left between the two: as Pillow, whose pictures have 8 bits there too.
Tensor in_two_passes(const Tensor& image, Size size, bool eight_bits) {
  check_shape(image, "3 H W", "image");
  const auto kept = [&](const Tensor& x) { return eight_bits ? (x.clamp(0, 1) * 255).round() / 255 : x.clamp(0, 1); };
  const Tensor wide = kept(image::resize(image, image.size(1), size.width, image::Kernel::lanczos));
  return kept(image::resize(wide, size.height, size.width, image::Kernel::lanczos));
}

}  // namespace

Tensor fitted(const Tensor& image, Size size) {
  check_shape(image, "3 H W", "image");
  if (image.size(1) == size.height && image.size(2) == size.width) return image;
  return in_two_passes(image, size, false);
}

// On 8 bits, as Pillow makes a picture grey ("L"): what lies at the threshold is decided alike.
Tensor binary_mask(const Tensor& mask, Size size) {
  const Tensor shares = at::tensor({19595, 38470, 7471}, mask.options()).view({3, 1, 1}) / 65536;
  const Tensor grey = ((in_two_passes(mask, size, true) * 255).round() * shares).sum(0).add(0.5).floor();
  return (grey >= 128).to(at::kFloat).view({1, 1, size.height, size.width});
}

Tensor masked(const Tensor& image, const Tensor& mask) { return image.unsqueeze(0) * (1 - mask) + 0.5 * mask; }

Tensor mask_tokens(const Tensor& mask, int64_t reduction) { return models::patchify(at::pixel_unshuffle(mask, reduction), kPatch); }

bool control_acts(const std::vector<double>& sigmas, double sigma, double start, double end) {
  const auto steps = static_cast<int64_t>(sigmas.size()) - 1;
  int64_t step = 0;
  while (step + 1 < steps && sigmas[static_cast<size_t>(step) + 1] >= sigma) ++step;
  const auto share = [steps](int64_t i) { return static_cast<double>(i) / static_cast<double>(steps); };
  return share(step) >= start && share(step + 1) <= end;
}

}  // namespace resflow::generate
