// Colours of a restored picture brought back to those of its source. Registry: color_fix/list.inc.
#pragma once

#include <string>

#include "resflow/core/registry.h"
#include "resflow/core/tensor.h"

namespace resflow::image {

class ColorFix {
 public:
  virtual ~ColorFix() = default;
  // content: the restored picture, style: the source at the same size; float [B, 3, H, W], sRGB 0..1, CPU. -> float
  // [B, 3, H, W], not clamped (lab: clamped to 0..1). Memory beyond the result: two planes [H, W].
  virtual Tensor apply(const Tensor& content, const Tensor& style) const = 0;
};

const Registry<ColorFix>& color_fixes();

// apply() of the fix with that name. Throws UserError for an unknown name, c10::Error for unequal shapes.
Tensor fix_color(const std::string& name, const Tensor& content, const Tensor& style);

}  // namespace resflow::image
