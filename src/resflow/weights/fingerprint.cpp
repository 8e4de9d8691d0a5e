#include "resflow/weights/fingerprint.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace resflow::weights {
namespace {

constexpr size_t kSample = 256;

class Hash {
 public:
  void add(std::string_view bytes) {
    for (const char byte : bytes) value_ = (value_ ^ static_cast<unsigned char>(byte)) * 0x100000001B3ULL;
  }
  std::string text() const { return fmt::format("{:016x}", value_); }

 private:
  uint64_t value_ = 0xCBF29CE484222325ULL;
};

}  // namespace

std::string fingerprint(const TensorFile& file) {
  Hash hash;
  for (const auto& name : file.names()) {
    const Tensor tensor = file.get(name).contiguous();
    hash.add({static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()});
  }
  return hash.text();
}

std::string sampled_fingerprint(const std::vector<TensorFile>& files) {
  Hash hash;
  for (const auto& file : files)
    for (const auto& name : file.names()) {
      hash.add(fmt::format("{} {} {}\n", name, fmt::join(file.shape(name), "x"), file.stored_type(name)));
      const auto mapped = file.mapped(name);
      if (!mapped.empty()) hash.add(mapped.front().substr(0, kSample));
    }
  return hash.text();
}

}  // namespace resflow::weights
