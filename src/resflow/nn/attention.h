// Scaled dot-product attention over heads.
#pragma once

#include "resflow/core/tensor.h"

namespace resflow::nn {

Tensor split_heads(const Tensor& x, int64_t heads);  // [B, L, H*E] -> [B, H, L, E]
Tensor join_heads(const Tensor& x);                  // [B, H, L, E] -> [B, L, H*E]

// q [B, H, Lq, E], k and v [B, H, Lk, E], mask [Lq, Lk] added to the scores (or undefined) -> [B, H, Lq, E]
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask = {});

}  // namespace resflow::nn
