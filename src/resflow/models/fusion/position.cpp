#include "resflow/models/fusion/position.h"

#include <ATen/ATen.h>

#include "resflow/models/tokens.h"

namespace resflow::models {

Tensor condition_ids(int64_t rows, int64_t columns, const ConditionPosition& position) {
  Tensor ids = image_ids(rows, columns, position.axis0);  // [C, 3]
  Tensor places = ids.narrow(1, 1, 2);
  const Tensor delta = at::tensor({position.delta_rows, position.delta_columns}, places.options());
  const double centre = (position.scale - 1) / 2;
  places.copy_(position.order == "scale-delta" ? places * position.scale + centre + delta : (places + delta) * position.scale + centre);
  return ids;
}

}  // namespace resflow::models
