// The lossy heart of JPEG on four 8x8 blocks at once: DCT, quantisation, inverse DCT.
#pragma once

#include <array>

#include "resflow/degradation/planes.h"

namespace resflow::degradation {

// Divisors of the 64 coefficients, row by row.
using QuantTable = std::array<int, 64>;

// Annex K's luminance and chrominance tables, scaled by libjpeg's formula for quality 1..100, within 1..255.
QuantTable luma_table(int quality);
QuantTable chroma_table(int quality);

// Puts whole 8x8 blocks of 0..255 levels through quantisation, in place; results are rounded and clamped to 0..255.
// height must be a multiple of 8, width and stride of 32.
void quantise_blocks(float* plane, int64_t height, int64_t width, int64_t stride, const QuantTable& table);

}  // namespace resflow::degradation
