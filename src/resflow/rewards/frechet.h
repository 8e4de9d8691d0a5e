// How far apart two sets of features lie: the Frechet distance between the Gaussians of their means and covariances (Dowson and Landau
// 1982; Heusel et al. 2017, arXiv 1706.08500).
#pragma once

#include "resflow/core/tensor.h"

namespace resflow::rewards {

// |m_a - m_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)), covariances over n - 1, in double. a: [N, F], b: [M, F], N and M at least 2.
double frechet_distance(const Tensor& a, const Tensor& b);

}  // namespace resflow::rewards
