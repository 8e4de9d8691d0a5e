#include "resflow/image/side_by_side.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace resflow::image {

Tensor contact_sheet(const std::vector<std::vector<Tensor>>& rows, int64_t divider) {
  TORCH_CHECK(!rows.empty() && !rows[0].empty(), "contact_sheet: no pictures");
  const int64_t h = rows[0][0].size(-2), w = rows[0][0].size(-1);
  size_t columns = 0;
  for (const auto& row : rows) columns = std::max(columns, row.size());
  const auto extent = [&](int64_t count, int64_t size) { return count * size + (count - 1) * divider; };
  Tensor sheet = at::ones({3, extent(static_cast<int64_t>(rows.size()), h), extent(static_cast<int64_t>(columns), w)}, at::kFloat);
  for (size_t i = 0; i < rows.size(); ++i)
    for (size_t j = 0; j < rows[i].size(); ++j) {
      TORCH_CHECK(rows[i][j].dim() == 3 && rows[i][j].size(0) == 3 && rows[i][j].size(1) == h && rows[i][j].size(2) == w,
                  "contact_sheet: wanted [3, ", h, ", ", w, "], got ", rows[i][j].sizes());
      sheet.narrow(1, static_cast<int64_t>(i) * (h + divider), h).narrow(2, static_cast<int64_t>(j) * (w + divider), w).copy_(rows[i][j]);
    }
  return sheet;
}

Tensor side_by_side(const std::vector<Tensor>& pictures, int64_t divider) { return contact_sheet({pictures}, divider); }

}  // namespace resflow::image
