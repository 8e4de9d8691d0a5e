#include "resflow/models/tokens.h"

#include <ATen/ATen.h>

#include <limits>

namespace resflow::models {

Tensor patchify(const Tensor& map, int64_t patch) {
  return map.unflatten(3, {-1, patch})
      .unflatten(2, {-1, patch})    // [B, C, rows, P, columns, P]
      .permute({0, 2, 4, 1, 3, 5})  // [B, rows, columns, C, P, P]
      .flatten(3)
      .flatten(1, 2);  // [B, L, C P P]
}

Tensor unpatchify(const Tensor& tokens, int64_t patch, int64_t rows, int64_t columns) {
  return tokens.unflatten(2, {-1, patch, patch})
      .unflatten(1, {rows, columns})  // [B, rows, columns, C, P, P]
      .permute({0, 3, 1, 4, 2, 5})    // [B, C, rows, P, columns, P]
      .flatten(4)
      .flatten(2, 3);  // [B, C, H, W]
}

Tensor image_ids(int64_t rows, int64_t columns, double axis0) {
  const auto options = at::TensorOptions().dtype(at::kDouble);
  const Tensor y = at::arange(rows, options).repeat_interleave(columns), x = at::arange(columns, options).repeat({rows});
  return at::stack({at::full_like(y, axis0), y, x}, 1);  // [L, 3]
}

Tensor neighbourhood_mask(int64_t rows, int64_t columns, int64_t radius) {
  const Tensor ids = image_ids(rows, columns);
  const Tensor dy = (ids.select(1, 1).unsqueeze(1) - ids.select(1, 1)).abs(), dx = (ids.select(1, 2).unsqueeze(1) - ids.select(1, 2)).abs();
  const Tensor far = at::maximum(dy, dx) > static_cast<double>(radius);                                              // [L, L]
  const Tensor mask = at::zeros(far.sizes(), at::kFloat).masked_fill(far, -std::numeric_limits<float>::infinity());  // [L, L]
  return at::cat({mask, mask}, 1);                                                                                   // [L, 2L]
}

}  // namespace resflow::models
