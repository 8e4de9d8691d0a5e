#include "resflow/nn/attention.h"

#include <ATen/ATen.h>

namespace resflow::nn {

Tensor split_heads(const Tensor& x, int64_t heads) { return x.unflatten(-1, {heads, -1}).transpose(1, 2); }
Tensor join_heads(const Tensor& x) { return x.transpose(1, 2).flatten(2); }

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask, std::optional<double> scale) {
  return at::scaled_dot_product_attention(q, k, v, mask.defined() ? std::optional<Tensor>(mask.to(q.scalar_type())) : std::nullopt, /*dropout_p=*/0,
                                          /*is_causal=*/false, scale);
}

}  // namespace resflow::nn
