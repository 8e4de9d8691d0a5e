// Tensors of a file into the slots of a module, by name; and out of it.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "resflow/nn/module.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::weights {

// What a file and a module do not have in common. Names as in the file, with the prefix.
struct LoadReport {
  std::vector<std::string> missing;     // the module's, not in the file
  std::vector<std::string> unexpected;  // the file's under the prefix, not in the module
};

// What a loaded tensor becomes; an empty field keeps what the file has. Integer tensors keep their type.
struct Conversion {
  std::optional<c10::ScalarType> dtype;
  std::optional<c10::Device> device;
  // Matrices of linear maps and embeddings stay as the file has them and are converted for each use (nn/quantised_weight.h). Always so where the
  // file is quantised or of several types: then `dtype`, or float32, is what everything else becomes and what is computed in.
  bool keep_stored = false;
  // Matrices become `dtype` (or float32) once and for all, where the file is quantised too: more memory, less work for each use.
  bool widen = false;
};

// Bytes of a module's tensors: those that stay the file's own mapped ones, and those of memory of their own.
struct Footprint {
  int64_t mapped = 0, copied = 0;
};
// What bind() would take, found without reading a tensor or touching the module. On another device than the CPU, everything is copied.
Footprint footprint(const nn::Module& module, const TensorFile& file, const std::string& prefix = "", const Conversion& conversion = {});

// Fills every slot that the file has a tensor for: the file's `prefix + name` goes to the module's `name` ("dr." for a part of a
// larger file). Slots are replaced, so bind before an optimiser takes hold of them; whether a slot requires a gradient is kept.
// Without a conversion a weight is a view of the file. Throws UserError on a wrong shape, before any slot is touched.
LoadReport bind(nn::Module& module, const TensorFile& file, const std::string& prefix = "", const Conversion& conversion = {});

// The same, and a UserError that names the first five where anything is missing or unexpected; then no slot is touched.
void load_strict(nn::Module& module, const TensorFile& file, const std::string& prefix = "", const Conversion& conversion = {});

// The module's tensors under `prefix + name`, for write_safetensors. They share memory with the module, but for what is quantised.
std::vector<std::pair<std::string, Tensor>> state_of(const nn::Module& module, const std::string& prefix = "");

}  // namespace resflow::weights
