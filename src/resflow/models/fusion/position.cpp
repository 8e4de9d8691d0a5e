#include "resflow/models/fusion/position.h"

#include <ATen/ATen.h>

#include <vector>

#include "resflow/models/tokens.h"

namespace resflow::models {

Tensor condition_ids(int64_t rows, int64_t columns, const ConditionPosition& position, int64_t pictures) {
  Tensor ids = image_ids(rows, columns, position.axis0);  // [C, 3]
  Tensor places = ids.narrow(1, 1, 2);
  const Tensor delta = at::tensor({position.delta_rows, position.delta_columns}, places.options());
  const double centre = (position.scale - 1) / 2;
  places.copy_(position.order == "scale-delta" ? places * position.scale + centre + delta : (places + delta) * position.scale + centre);
  std::vector<Tensor> all = {ids};
  while (static_cast<int64_t>(all.size()) < pictures) {
    all.push_back(all.back().clone());
    all.back().select(1, 0) += 1;
  }
  return at::cat(all);
}

}  // namespace resflow::models
