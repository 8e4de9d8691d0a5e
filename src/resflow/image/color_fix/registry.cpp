#include <ATen/ATen.h>

#include "resflow/image/color_fix.h"

namespace resflow::image {

#define RESFLOW_COLOR_FIX(name) Entry<ColorFix> color_fix_##name();
#include "resflow/image/color_fix/list.inc"
#undef RESFLOW_COLOR_FIX

const Registry<ColorFix>& color_fixes() {
  static const Registry<ColorFix> registry("colour fix", {
#define RESFLOW_COLOR_FIX(name) color_fix_##name(),
#include "resflow/image/color_fix/list.inc"
#undef RESFLOW_COLOR_FIX
                                                         });
  return registry;
}

Tensor fix_color(const std::string& name, const Tensor& content, const Tensor& style) {
  check_shape(content, "B 3 H W", "content");
  TORCH_CHECK(content.sizes() == style.sizes(), "colour fix: content ", content.sizes(), " and style ", style.sizes(), " differ in size");
  const auto ready = [](const Tensor& t) { return t.to(at::kCPU, at::kFloat).contiguous(); };
  return color_fixes().make(name)->apply(ready(content), ready(style));
}

}  // namespace resflow::image
