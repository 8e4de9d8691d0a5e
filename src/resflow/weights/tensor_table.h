// What a reader of one file format finds: where in the file's bytes each tensor lies. TensorFile makes tensors of it.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "resflow/nn/ggml_quants.h"

namespace resflow::weights {

// A reader has checked that every element lies inside the file and that the product of sizes and element size fits 63 bits.
struct TensorEntry {
  std::string name;
  c10::ScalarType dtype = c10::kFloat;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;                // in elements, each 0 or more; empty = contiguous
  const nn::QuantFormat* quantised = nullptr;  // blocks of the file that make `dtype`, float32; then contiguous
  uint64_t begin = 0;                          // byte of the first element, from the start of the file; any alignment
};

struct TensorTable {
  std::string format;                // "safetensors", "torch", "gguf": begins the messages
  std::vector<TensorEntry> entries;  // in the order of the file; each name once
  std::map<std::string, std::string> metadata;
};

}  // namespace resflow::weights
