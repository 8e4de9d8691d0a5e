// ggml's blocks with tensor operations: for devices that the loops of ggml_quants.h do not reach.
#pragma once

#include "resflow/core/tensor.h"
#include "resflow/nn/ggml_quants.h"

namespace resflow::nn {

// stored: uint8 [rows, bytes of a row] on any device -> float32 [rows, columns] there
Tensor unpack_on_device(const QuantFormat& format, const Tensor& stored);

}  // namespace resflow::nn
