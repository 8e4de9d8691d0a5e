// Natural image quality evaluator, Mittal, Soundararajan and Bovik 2013 ("Making a completely blind image quality analyzer"): how far the
// statistics of a picture's locally normalised luma lie from those of pristine photographs. weights/niqe.safetensors holds the latter.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "resflow/core/data_path.h"
#include "resflow/core/error.h"
#include "resflow/rewards/channels.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::rewards {
namespace {

constexpr int64_t kBlock = 96;     // pixels; half as many at the second scale
constexpr int64_t kFeatures = 18;  // a scale
constexpr int64_t kWindow = 7;     // pixels across, Gaussian of sigma 7/6

// Measured on a large set of photographs, as published with the metric.
struct Pristine {
  Tensor mean, covariance, window;  // double [36], [36, 36], [7, 7]
};

const Pristine& pristine() {
  static const Pristine loaded = [] {
    const auto path = data_file("weights/niqe.safetensors");
    const auto file = weights::TensorFile::open(path);
    const auto read = [&](const std::string& name, at::IntArrayRef shape) {
      auto tensor = file.get(name).to(at::kDouble).contiguous();
      if (tensor.sizes() != shape)
        throw_user_error(
            {.where = path.string(), .problem = "'" + name + "' has another shape", .wanted = c10::str(shape), .got = c10::str(tensor.sizes())});
      return tensor;
    };
    return Pristine{read("mean", {2 * kFeatures}), read("covariance", {2 * kFeatures, 2 * kFeatures}), read("window", {kWindow, kWindow})};
  }();
  return loaded;
}

// The shape of a generalised Gaussian from Gamma(2/a)^2 / (Gamma(1/a) Gamma(3/a)), which grows with a: the nearest on the grid
// 0.2, 0.201, ..., 10 of the authors' release.
class ShapeTable {
 public:
  ShapeTable() {
    for (int i = 0; i <= 9800; ++i) {
      const double a = alpha(i);
      ratios_.push_back(std::exp(2 * std::lgamma(2 / a) - std::lgamma(1 / a) - std::lgamma(3 / a)));
    }
  }
  double nearest(double ratio) const {
    const auto above = std::lower_bound(ratios_.begin(), ratios_.end(), ratio) - ratios_.begin();
    if (above == 0) return alpha(0);
    const auto last = static_cast<int64_t>(ratios_.size()) - 1;
    if (above > last) return alpha(last);
    return alpha(ratio - ratios_[above - 1] <= ratios_[above] - ratio ? above - 1 : above);
  }

 private:
  static double alpha(int64_t i) { return 0.2 + 0.001 * static_cast<double>(i); }
  std::vector<double> ratios_;
};

// An asymmetric generalised Gaussian, fitted by moments.
struct Fit {
  double shape, left, right;  // left, right: scales of the negative and the positive side
};

Fit fit(const std::vector<double>& x) {
  static const ShapeTable table;
  double below = 0, above = 0, absolute = 0;
  int64_t count_below = 0, count_above = 0;
  for (const double v : x) {
    if (v < 0) {
      below += v * v;
      ++count_below;
    } else if (v > 0) {
      above += v * v;
      ++count_above;
    }
    absolute += std::abs(v);
  }
  // 0 / 0 where a side is empty: not a number, which leaves the block out.
  const double n = static_cast<double>(x.size()), left = std::sqrt(below / static_cast<double>(count_below)),
               right = std::sqrt(above / static_cast<double>(count_above)), g = left / right;
  if (!std::isfinite(g)) return {NAN, NAN, NAN};
  const double ratio = (absolute / n) * (absolute / n) / ((below + above) / n) * (g * g * g + 1) * (g + 1) / ((g * g + 1) * (g * g + 1));
  const double shape = table.nearest(ratio), scale = std::exp(0.5 * (std::lgamma(1 / shape) - std::lgamma(3 / shape)));
  return {shape, left * scale, right * scale};
}

// Features of one square block of normalised luma with its corner at `x`: its own fit, then those of the products with four neighbours
// (which wrap round at the block's edge, as in the authors' release).
void block_features(const double* x, int64_t stride, int64_t side, double* out) {
  std::vector<double> values(side * side);
  for (int64_t r = 0; r < side; ++r) std::copy_n(x + r * stride, side, values.begin() + r * side);
  const auto own = fit(values);
  *out++ = own.shape;
  *out++ = (own.left + own.right) / 2;
  constexpr std::array<std::array<int64_t, 2>, 4> shifts = {{{0, 1}, {1, 0}, {1, 1}, {1, -1}}};
  for (const auto& [down, across] : shifts) {
    for (int64_t r = 0; r < side; ++r)
      for (int64_t c = 0; c < side; ++c) values[r * side + c] = x[r * stride + c] * x[(r - down + side) % side * stride + (c - across + side) % side];
    const auto pair = fit(values);
    *out++ = pair.shape;
    *out++ = (pair.right - pair.left) * std::exp(std::lgamma(2 / pair.shape) - std::lgamma(1 / pair.shape));
    *out++ = pair.left;
    *out++ = pair.right;
  }
}

// The window's weighted mean round each pixel; the picture's edge is repeated outside. Each sum runs over the window row by row, as in
// the published implementations: in a region of one colour the rounding error's sign decides on which side of a fit a pixel counts, and
// another order of summing moves the score of a picture with such regions by about 1 %. y: double [1, 1, H, W] -> the same
Tensor window_mean(const Tensor& y) {
  constexpr int64_t radius = kWindow / 2;
  const auto padded = at::replication_pad2d(y, {radius, radius, radius, radius});
  const int64_t height = y.size(2), width = y.size(3), stride = padded.size(3);
  auto out = at::zeros_like(y, at::MemoryFormat::Contiguous);
  const auto* from = padded.const_data_ptr<double>();
  const auto* window = pristine().window.const_data_ptr<double>();
  auto* to = out.mutable_data_ptr<double>();
  at::parallel_for(0, height, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t i = 0; i < kWindow * kWindow; ++i) {
        const auto* row = from + (r + i / kWindow) * stride + i % kWindow;
        for (int64_t c = 0; c < width; ++c) to[r * width + c] += window[i] * row[c];
      }
  });
  return out;
}

// (y - mean) / (deviation + 1). y: double [1, 1, H, W] -> the same
Tensor normalised(const Tensor& y) {
  const auto mean = window_mean(y);
  const auto deviation = (window_mean(y.square()) - mean.square()).abs_().sqrt_();
  return (y - mean).div_(deviation.add_(1)).contiguous();
}

// One row of features for each block in which every fit exists. -> [N, 36]
Tensor picture_features(Tensor y) {
  const int64_t rows = y.size(2) / kBlock, columns = y.size(3) / kBlock;
  y = y.narrow(2, 0, rows * kBlock).narrow(3, 0, columns * kBlock);
  auto features = at::empty({rows * columns, 2 * kFeatures}, at::kDouble);
  for (int64_t scale = 0; scale < 2; ++scale) {
    const auto x = normalised(y);
    const int64_t side = kBlock >> scale, stride = x.size(3);
    const auto* pixels = x.const_data_ptr<double>();
    auto* out = features.mutable_data_ptr<double>() + scale * kFeatures;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        block_features(pixels + r * side * stride + c * side, stride, side, out + (r * columns + c) * 2 * kFeatures);
    // Bicubic (a = -0.5) with antialiasing, as MATLAB's imresize but at the very edge.
    if (scale == 0) y = at::_upsample_bicubic2d_aa(y.contiguous(), {y.size(2) / 2, y.size(3) / 2}, false);
  }
  const auto usable = features.isnan().any(1).logical_not_();
  return features.index({usable});
}

class Niqe final : public Metric {
 public:
  double score(const Tensor& prediction, const Tensor&, const MetricOptions&) const override {
    check_shape(prediction, "1 3 H W", "prediction");
    if (std::min(prediction.size(2), prediction.size(3)) < 2 * kBlock)
      throw_user_error({.where = "niqe",
                        .problem = "picture too small",
                        .wanted = fmt::format("at least {0}x{0} pixels", 2 * kBlock),
                        .got = fmt::format("{}x{}", prediction.size(3), prediction.size(2))});
    // It is defined on 8-bit pictures: bytes, then whole numbers of luma.
    const auto bytes = (prediction.to(at::kCPU, at::kDouble) * 255.0).round_().clamp_(0, 255);
    const auto features = picture_features(luma(bytes / 255.0).round_());
    if (features.size(0) < 2)
      throw_user_error(
          {.where = "niqe", .problem = "the picture has no texture to judge", .wanted = "at least two blocks of 96x96 pixels that are not flat"});
    const auto difference = pristine().mean - features.mean(0);
    const auto spread = at::linalg_pinv((pristine().covariance + at::cov(features.t())) / 2, 1e-15, /*hermitian=*/false);
    return std::sqrt(difference.dot(spread.mv(difference)).item<double>());
  }
  bool needs_reference() const override { return false; }
  bool higher_is_better() const override { return false; }
};

}  // namespace

Entry<Metric> metric_niqe() { return entry<Metric, Niqe>("niqe", "Naturalness without a reference (lower is better)"); }

}  // namespace resflow::rewards
