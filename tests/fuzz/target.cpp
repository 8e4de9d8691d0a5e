#include "target.h"

#include <ATen/ATen.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "resflow/core/error.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::fuzz {

std::string complaint;

int run(const std::function<void()>& read) {
  complaint.clear();
  try {
    read();
  } catch (const UserError& error) {
    complaint = error.what();
  }
  return 0;
}

std::filesystem::path file_of(const uint8_t* data, size_t size) {
  static const int file = ::memfd_create("fuzz", 0);
  if (file < 0 || ::ftruncate(file, 0) != 0 || ::pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  return "/proc/self/fd/" + std::to_string(file);
}

void read_tensors(const std::filesystem::path& path) {
  constexpr size_t kTensors = 64;
  constexpr int64_t kLargest = 1 << 20;  // numbers
  const auto file = weights::TensorFile::open(path);
  size_t seen = 0;
  for (const auto& name : file.names()) {
    if (++seen > kTensors) break;
    const auto shape = file.shape(name);
    file.stored_type(name);
    file.dtype(name);
    for (const auto bytes : file.mapped(name))
      if (!bytes.empty() && bytes.front() + bytes.back() == 1000) std::abort();  // both ends are in the mapping: touched, a crash where not
    if (c10::multiply_integers(shape) > kLargest) continue;
    at::sum(file.get(name).to(at::kDouble)).item<double>();
    if (shape.size() == 2 && file.quantised(name)) file.stored(name).dequantise();
  }
}

}  // namespace resflow::fuzz
