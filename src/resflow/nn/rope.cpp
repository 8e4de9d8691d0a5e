#include "resflow/nn/rope.h"

#include <ATen/ATen.h>

namespace resflow::nn {

Rope make_rope(const Tensor& ids, const std::vector<int64_t>& axes_dim, double theta) {
  TORCH_CHECK(ids.dim() == 2 && ids.size(1) == static_cast<int64_t>(axes_dim.size()), "make_rope: wanted ids [L, ", axes_dim.size(), "], got ",
              ids.sizes());
  std::vector<Tensor> angles;
  const auto options = at::TensorOptions().dtype(at::kDouble).device(ids.device());
  for (size_t axis = 0; axis < axes_dim.size(); ++axis) {
    const int64_t dim = axes_dim[axis];
    const Tensor frequency = at::pow(theta, at::arange(0, dim, 2, options) / -static_cast<double>(dim));                        // [dim / 2]
    angles.push_back(at::outer(ids.select(1, static_cast<int64_t>(axis)).to(at::kDouble), frequency).repeat_interleave(2, 1));  // [L, dim]
  }
  const Tensor all = at::cat(angles, 1);  // [L, E]
  return {all.cos().to(at::kFloat), all.sin().to(at::kFloat)};
}

Rope concatenate(const Rope& first, const Rope& second) { return {at::cat({first.cos, second.cos}), at::cat({first.sin, second.sin})}; }

Tensor apply_rope(const Tensor& x, const Rope& rope) {
  const Tensor wide = x.to(at::kFloat);
  const Tensor pairs = wide.unflatten(-1, {-1, 2});                                              // [B, H, L, E/2, 2]
  const Tensor turned = at::stack({-pairs.select(-1, 1), pairs.select(-1, 0)}, -1).flatten(-2);  // [B, H, L, E]
  return (wide * rope.cos + turned * rope.sin).to(x.scalar_type());
}

}  // namespace resflow::nn
