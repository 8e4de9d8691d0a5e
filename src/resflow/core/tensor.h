// The tensor type of the whole library. Interface headers include only this one: it costs 1.7 s a file, torch/torch.h 13 s.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace resflow {

using Tensor = at::Tensor;

// Checks a shape at a folder's border. `spec` names one size each, separated by spaces: a number must match, a name matches
// any size but the same name must match the same size: check_shape(image, "B 3 H W", "image"). Throws c10::Error (a bug).
void check_shape(const Tensor& tensor, std::string_view spec, std::string_view what);

}  // namespace resflow
