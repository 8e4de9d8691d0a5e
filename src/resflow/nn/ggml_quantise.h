// Into ggml's blocks, as its reference functions do it (llama.cpp, ggml/src/ggml-quants.c: quantize_row_q8_0_ref, ..q4_0_ref, ..q4_K_ref).
#pragma once

#include "resflow/core/tensor.h"
#include "resflow/nn/ggml_quants.h"

namespace resflow::nn {

// Null where there is no function into a format of this name; "Q8_0", "Q4_0", "Q4_K" are there.
const QuantFormat* writable_quant_format(std::string_view name);

// numbers: float32 on the CPU, the last axis a multiple of the format's block -> uint8 [rows, bytes of a row]
Tensor quantise(const QuantFormat& format, const Tensor& numbers);

}  // namespace resflow::nn
