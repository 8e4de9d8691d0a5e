// A tensor on its way into a file: made when it is its turn, so that a model is converted a layer at a time.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "resflow/core/tensor.h"
#include "resflow/nn/ggml_quants.h"

namespace resflow::weights {

struct WrittenTensor {
  std::string name;
  std::vector<int64_t> shape;
  c10::ScalarType dtype = c10::kFloat;      // in the file; nothing where there is a format
  const nn::QuantFormat* format = nullptr;  // ggml's blocks: GGUF only
  std::function<Tensor()> make;             // the numbers, `shape` of `dtype`; or blocks, bytes of any shape

  int64_t bytes() const {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    return format != nullptr ? count / format->block * format->bytes : count * static_cast<int64_t>(c10::elementSize(dtype));
  }
};

}  // namespace resflow::weights
