#include <ATen/ATen.h>

#include "resflow/image/color_fix.h"

namespace resflow::image {
namespace {

constexpr int64_t kCell = 16;   // px: what is blurred are the means of cells
constexpr double kSigma = 4;    // cells
constexpr int64_t kReach = 12;  // cells, three deviations

// The source's brightness and colour as a Gaussian of 64 px sees them: far broader than what a poor source gets wrong (blocks, noise, blur),
// which a wavelet's low frequencies bring back with the tones.
class Tone final : public ColorFix {
 public:
  Tensor apply(const Tensor& content, const Tensor& style) const override {
    Tensor out = content.clone();
    const Tensor offsets = at::arange(-kReach, kReach + 1, at::kFloat);
    Tensor kernel = (offsets.square() / (-2 * kSigma * kSigma)).exp();
    kernel = kernel / kernel.sum();
    for (int64_t b = 0; b < out.size(0); ++b)
      for (int64_t c = 0; c < 3; ++c) {
        Tensor low = (style[b][c] - content[b][c]).view({1, 1, out.size(2), out.size(3)});
        low = at::avg_pool2d(low, {kCell, kCell}, {kCell, kCell}, {0, 0}, /*ceil_mode=*/true, /*count_include_pad=*/false);
        const int64_t height = low.size(2) * kCell, width = low.size(3) * kCell;
        low = at::replication_pad2d(low, {kReach, kReach, kReach, kReach});
        low = at::conv2d(at::conv2d(low, kernel.view({1, 1, 1, -1})), kernel.view({1, 1, -1, 1}));
        low = at::upsample_bilinear2d(low, {height, width}, /*align_corners=*/false);
        out[b][c].add_(low[0][0].narrow(0, 0, out.size(2)).narrow(1, 0, out.size(3)));
      }
    return out;
  }
};

}  // namespace

Entry<ColorFix> color_fix_tone() { return entry<ColorFix, Tone>("tone", "The source's brightness and colour, as a blur of 64 px sees them"); }

}  // namespace resflow::image
