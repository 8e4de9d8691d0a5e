#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "resflow/image/color_fix.h"

namespace resflow::image {
namespace {

// One a-trous level: [1 2 1; 2 4 2; 1 2 1] / 16 with that dilation, borders replicated. The kernel is separable: columns of a
// row first, then the row.
void blur(const float* in, float* out, int64_t height, int64_t width, int64_t dilation) {
  at::parallel_for(0, height, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> padded(width + 2 * dilation);
    for (int64_t y = begin; y < end; ++y) {
      const float *above = in + std::max<int64_t>(y - dilation, 0) * width, *here = in + y * width,
                  *below = in + std::min(y + dilation, height - 1) * width;
      float* row = padded.data() + dilation;
      for (int64_t x = 0; x < width; ++x) row[x] = 0.25f * above[x] + 0.5f * here[x] + 0.25f * below[x];
      std::fill(padded.data(), row, row[0]);
      std::fill(row + width, row + width + dilation, row[width - 1]);
      for (int64_t x = 0; x < width; ++x) out[y * width + x] = 0.25f * row[x - dilation] + 0.5f * row[x] + 0.25f * row[x + dilation];
    }
  });
}

// StableSR's wavelet fix: the content's detail on the style's low frequencies. The levels' details sum to content -
// low(content), and low() is linear, so the result is content + low(style - content): one pyramid instead of two.
class Wavelet final : public ColorFix {
 public:
  Tensor apply(const Tensor& content, const Tensor& style) const override {
    Tensor out = content.clone();
    const int64_t height = out.size(2), width = out.size(3);
    for (int64_t b = 0; b < out.size(0); ++b)
      for (int64_t c = 0; c < 3; ++c) {
        Tensor low = style[b][c] - content[b][c], next = at::empty_like(low);
        for (int64_t level = 0; level < 5; ++level) {
          blur(low.data_ptr<float>(), next.data_ptr<float>(), height, width, int64_t{1} << level);
          std::swap(low, next);
        }
        out[b][c].add_(low);
      }
    return out;
  }
};

}  // namespace

Entry<ColorFix> color_fix_wavelet() { return entry<ColorFix, Wavelet>("wavelet", "The source's low frequencies under the result's detail"); }

}  // namespace resflow::image
