// The gradient of a loss, told in parts while it is found.
#pragma once

#include <functional>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::train {

// Is told a parameter's place in the list and its whole gradient, from the thread that differentiates or one of the device's.
using GradientSink = std::function<void(size_t parameter, const Tensor& gradient)>;

// Of a scalar, for leaves; 0 where it does not depend on one. sink, where there is one: told each gradient as soon as the backward pass has it, but
// for those of parameters that the loss does not depend on. Parts may be checkpointed (nn/checkpoint.h).
std::vector<Tensor> differentiate(const Tensor& loss, const std::vector<Tensor>& parameters, const GradientSink& sink = {});

}  // namespace resflow::train
