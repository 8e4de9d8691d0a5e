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

weights::Conversion stored_conversion(c10::ScalarType dtype) { return {.dtype = dtype, .device = c10::kCPU, .keep_stored = true}; }

weights::Conversion transformer_conversion(const weights::TensorFile& file, c10::Device device, c10::ScalarType dtype, Offload mode) {
  if (mode == Offload::stream) return stored_conversion(dtype);
  if (device.is_cpu()) return {.dtype = dtype, .device = device, .widen = true};
  return conversion_of(file, device, dtype);
}

weights::Conversion t5_conversion(const weights::TensorFile& file, c10::Device device, c10::ScalarType dtype, Offload mode) {
  const auto computed = dtype == c10::kHalf ? c10::kFloat : dtype;
  return device.is_cpu() || mode == Offload::stream ? stored_conversion(computed) : conversion_of(file, device, computed);
}

}  // namespace resflow::generate
