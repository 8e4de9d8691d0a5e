// Where the tokens of a condition image stand among the image's: its rope ids.
#pragma once

#include <string>

#include "resflow/core/fields.h"
#include "resflow/core/tensor.h"

namespace resflow::models {

// OminiControl's scheme (2411.15098): a condition aligned with the image shares its positions, one of another size is stretched over it, and one
// that only shows a subject is moved beside it. FLUX.1 Kontext instead sets the first axis to 1.
struct ConditionPosition {
  double axis0 = 0;
  double scale = 1;  // condition tokens of a smaller picture: 2 where its sides are half the image's
  double delta_rows = 0, delta_columns = 0;
  // What comes first where both are used: OminiControl's trainer scales, its pipeline moves.
  std::string order = "scale-delta";

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("axis0", o.axis0, "First axis of the condition's positions: 0, or 1 as in FLUX.1 Kontext", Range{0, 64});
    visit("scale", o.scale, "Image tokens per condition token along a side", Range{0.01, 64});
    visit("delta_rows", o.delta_rows, "Tokens that the condition is moved down", Range{-4096, 4096});
    visit("delta_columns", o.delta_columns, "Tokens that the condition is moved to the right", Range{-4096, 4096});
    visit("order", o.order, "What comes first where both are used", OneOf{{"scale-delta", "delta-scale"}});
  }
};

// Scaled about the tokens' centres: a position p becomes p s + (s - 1) / 2. Of several pictures each one's first axis is one above the last one's, as
// FLUX.1 Kontext numbers its images. -> [pictures * rows * columns, 3], float64
Tensor condition_ids(int64_t rows, int64_t columns, const ConditionPosition& position, int64_t pictures = 1);

}  // namespace resflow::models
