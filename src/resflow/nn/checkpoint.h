// Activation checkpointing (Chen et al. 2016): a part of a network keeps its inputs alone, and is computed again when its gradient is asked for.
#pragma once

#include <functional>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::nn {

using TensorFunction = std::function<std::vector<Tensor>(const std::vector<Tensor>&)>;

// f(inputs), and the gradients it would have. Undefined tensors may stand among the inputs. f must give the same numbers when it is called again,
// and whatever it uses beside its inputs must be constant or a leaf (a parameter): those are found by themselves. Not under autocast.
std::vector<Tensor> checkpoint(const TensorFunction& f, const std::vector<Tensor>& inputs);

}  // namespace resflow::nn
