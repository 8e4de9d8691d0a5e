// A picture put together from several, region by region.
#pragma once

#include <cstdint>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::search {

// How much each of `regions` equal spans along an axis has to say at each of `size` places: [regions, size], double, sum over regions = 1. Between
// the middles of neighbours it changes as a raised cosine.
Tensor span_weights(int64_t regions, int64_t size);

// Every image in the tones of the `base`-th one, as far as they are wider than half a region: what is left of its own is its detail. Samples differ
// in tone as a whole, and parts of them side by side would show it. images: [N, C, h, w] -> the same shape, the base unchanged
Tensor in_tones_of(const Tensor& images, int64_t base, int64_t regions);

// images: [N, C, h, w]; choice: for each region of a square grid, in row order, whose part of the picture is taken (0..N-1). The grid is soft
// (span_weights along either side), so there are no seams. -> [1, C, h, w]
Tensor mixture(const Tensor& images, const std::vector<int64_t>& choice);

}  // namespace resflow::search
