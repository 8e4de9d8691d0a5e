#include "resflow/rewards/frechet.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace resflow::rewards {
namespace {

struct Gaussian {
  Tensor mean, root;  // [F], [min(N, F), F]: root^T root is the covariance
};

Gaussian fitted(const Tensor& features) {
  check_shape(features, "N F", "features");
  TORCH_CHECK(features.size(0) >= 2, "a covariance of ", features.size(0), " pictures");
  const Tensor x = features.to(at::kCPU, at::kDouble), mean = x.mean(0);
  Tensor root = (x - mean) / std::sqrt(static_cast<double>(x.size(0) - 1));  // [N, F]
  if (root.size(0) > root.size(1)) root = std::get<1>(at::linalg_qr(root, "r"));
  return {mean, root};
}

}  // namespace

// With S = R^T R, the eigenvalues of S_a S_b other than 0 are those of (R_a R_b^T)(R_a R_b^T)^T: the trace of the root is the sum of the
// singular values of R_a R_b^T. So no root is taken of a matrix that is singular wherever there are fewer pictures than features, and the
// published code's small imaginary parts and added diagonal have no place.
double frechet_distance(const Tensor& a, const Tensor& b) {
  const auto one = fitted(a), other = fitted(b);
  TORCH_CHECK(one.mean.sizes() == other.mean.sizes(), "features of ", one.mean.sizes(), " and ", other.mean.sizes(), " numbers");
  const Tensor shared = at::linalg_svdvals(at::mm(one.root, other.root.t())).sum();
  const Tensor distance = (one.mean - other.mean).square().sum() + one.root.square().sum() + other.root.square().sum() - 2 * shared;
  return std::max(0.0, distance.item<double>());  // rounding
}

}  // namespace resflow::rewards
