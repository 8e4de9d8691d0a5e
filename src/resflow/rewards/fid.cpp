// Frechet Inception distance, Heusel et al. 2017 (arXiv 1706.08500), as pytorch-fid computes it: R, G and B, resized to 299x299 by
// bilinear interpolation without antialiasing, -1..1; 2048 features; covariances over n - 1.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "resflow/rewards/frechet.h"
#include "resflow/rewards/inception.h"
#include "resflow/rewards/public_file.h"
#include "resflow/rewards/set_metric.h"

namespace resflow::rewards {
namespace {

constexpr int64_t kSide = 299;

std::filesystem::path find_weights() {
  return find_public_file({.name = "pt_inception-2015-12-05-6726825d.pth",
                           .origin = "https://github.com/mseitzer/pytorch-fid/releases (fid_weights)",
                           .licence = "Apache-2.0"});
}

class Fid final : public SetMetric {
 public:
  Fid() : trunk_(weights::TensorFile::open(find_weights())) {}

  Tensor features(const Tensor& image) const override {
    check_shape(image, "1 3 H W", "image");
    const Tensor resized = at::upsample_bilinear2d(image.to(at::kCPU, at::kFloat), {kSide, kSide}, /*align_corners=*/false);
    return trunk_.features(2 * resized - 1).squeeze(0);
  }
  double distance(const Tensor& predictions, const Tensor& references) const override {
    const auto fewest = std::min(predictions.size(0), references.size(0));
    if (fewest < 2)
      throw_user_error({.where = "fid",
                        .problem = "too few pictures for a covariance",
                        .wanted = "at least 2 in each folder; published numbers are of thousands",
                        .got = std::to_string(fewest)});
    return frechet_distance(predictions, references);
  }
  bool higher_is_better() const override { return false; }

 private:
  Inception trunk_;
};

}  // namespace

Entry<SetMetric> set_metric_fid() { return entry<SetMetric, Fid>("fid", "Frechet Inception distance of two folders (lower is better)"); }

}  // namespace resflow::rewards
