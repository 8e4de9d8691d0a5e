// Pictures joined for comparison.
#pragma once

#include <cstdint>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::image {

// float [3, H, W] each, equal sizes -> [3, H, n * W + (n - 1) * divider], white lines between.
Tensor side_by_side(const std::vector<Tensor>& pictures, int64_t divider = 4);

// Rows of pictures, all equal in size, shorter rows filled with white -> one sheet.
Tensor contact_sheet(const std::vector<std::vector<Tensor>>& rows, int64_t divider = 4);

}  // namespace resflow::image
