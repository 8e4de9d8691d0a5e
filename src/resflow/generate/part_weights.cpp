#include "resflow/generate/part_weights.h"

#include <algorithm>

namespace resflow::generate {

weights::Conversion conversion_of(const weights::TensorFile& file, c10::Device device, c10::ScalarType dtype) {
  const auto names = file.names();
  const bool wider = std::any_of(names.begin(), names.end(), [&](const auto& name) {
    return !file.quantised(name) && file.shape(name).size() == 2 && c10::elementSize(file.dtype(name)) > c10::elementSize(dtype);
  });
  return {.dtype = dtype, .device = device, .keep_stored = !wider};
}

}  // namespace resflow::generate
