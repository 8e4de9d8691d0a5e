// A matrix that stays as its file stores it, in fewer bits than it is computed with: ggml's blocks, float8 with a scale, or just a narrower
// type. It is widened for each use, a layer at a time, so that a model takes the memory that its file takes.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include "resflow/core/tensor.h"
#include "resflow/nn/ggml_quants.h"

namespace resflow::nn {

struct QuantisedWeight {
  Tensor stored;                        // [out, bytes of a row], uint8, where there is a format; else the numbers, [out, in] of any type
  const QuantFormat* format = nullptr;  // ggml's blocks
  Tensor scale;                         // float32, of one number or [out, 1]: w = stored * scale; or undefined. Never with a format
  c10::ScalarType dtype = c10::kFloat;  // of what comes out

  bool defined() const { return stored.defined(); }
  int64_t out() const { return stored.size(0); }
  int64_t in() const { return format != nullptr ? stored.size(1) / format->bytes * format->block : stored.size(1); }

  // -> [out, in] of `dtype`, on the device of what is stored
  Tensor dequantise() const;
  // The rows of these numbers, int64 [...] -> [..., in]
  Tensor rows(const Tensor& numbers) const;
  void to(c10::Device device, c10::ScalarType wanted);
};

}  // namespace resflow::nn
