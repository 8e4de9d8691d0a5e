#include "resflow/weights/fingerprint.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

namespace resflow::weights {

std::string fingerprint(const TensorFile& file) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (const auto& name : file.names()) {
    const Tensor tensor = file.get(name).contiguous();
    const auto* bytes = static_cast<const unsigned char*>(tensor.const_data_ptr());
    for (size_t i = 0; i < tensor.nbytes(); ++i) hash = (hash ^ bytes[i]) * 0x100000001B3ULL;
  }
  return fmt::format("{:016x}", hash);
}

}  // namespace resflow::weights
