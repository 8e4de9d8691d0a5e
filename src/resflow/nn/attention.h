// Scaled dot-product attention over heads.
#pragma once

#include <optional>

#include "resflow/core/tensor.h"

namespace resflow::nn {

Tensor split_heads(const Tensor& x, int64_t heads);  // [B, L, H*E] -> [B, H, L, E]
Tensor join_heads(const Tensor& x);                  // [B, H, L, E] -> [B, L, H*E]

// q [B, H, Lq, E], k and v [B, H, Lk, E], mask added to the scores, of a shape that broadcasts to [B, H, Lq, Lk] (or undefined); the scores are
// scaled by `scale`, 1/sqrt(E) by default -> [B, H, Lq, E]
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask = {}, std::optional<double> scale = {});

}  // namespace resflow::nn
