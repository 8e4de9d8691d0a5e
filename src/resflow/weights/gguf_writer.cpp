#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/weights/gguf.h"

namespace resflow::weights {
namespace {

constexpr uint32_t kVersion = 3, kText = 8, kWhole = 4;
constexpr int64_t kAlignment = 32;

class Writer {
 public:
  template <class Number>
  void number(Number value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void text(std::string_view value) {
    number<uint64_t>(value.size());
    out_.append(value);
  }
  void align() { out_.resize((out_.size() + kAlignment - 1) / kAlignment * kAlignment, '\0'); }
  const std::string& bytes() const { return out_; }

 private:
  std::string out_;
};

uint32_t code_of(const WrittenTensor& tensor) {
  if (tensor.format != nullptr) return tensor.format->code;
  switch (tensor.dtype) {
    case c10::kFloat:
      return 0;
    case c10::kHalf:
      return 1;
    case c10::kBFloat16:
      return 30;
    default:
      TORCH_CHECK(false, "write_gguf: tensor '", tensor.name, "': no such type: ", tensor.dtype);
  }
}

int64_t padded(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::string header_of(const std::vector<WrittenTensor>& tensors, const Json& pairs) {
  Writer out;
  for (const char letter : std::string_view("GGUF")) out.number(letter);
  out.number(kVersion);
  out.number<uint64_t>(tensors.size());
  out.number<uint64_t>(pairs.size());
  for (const auto& [key, value] : pairs.items()) {
    out.text(key);
    out.number(value.is_string() ? kText : kWhole);
    if (value.is_string()) {
      out.text(value.get<std::string>());
    } else {
      out.number(value.get<uint32_t>());
    }
  }
  int64_t place = 0;
  for (const auto& tensor : tensors) {
    out.text(tensor.name);
    out.number(static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) out.number(*size);
    out.number(code_of(tensor));
    out.number(place);
    place += padded(tensor.bytes());
  }
  out.align();
  return out.bytes();
}

}  // namespace

void write_gguf(const std::filesystem::path& path, const std::vector<WrittenTensor>& tensors, const Json& pairs) {
  const std::string header = header_of(tensors, pairs);
  write_atomically(path, [&](const std::filesystem::path& temporary) {
    std::ofstream out(temporary, std::ios::binary);
    out.write(header.data(), static_cast<std::streamsize>(header.size()));
    for (const auto& tensor : tensors) {
      const Tensor stored = tensor.make().detach().to(at::kCPU).contiguous();
      TORCH_CHECK(stored.numel() * stored.element_size() == tensor.bytes(), "write_gguf: '", tensor.name, "' is not what was announced");
      out.write(static_cast<const char*>(stored.data_ptr()), tensor.bytes());
      const std::string rest(static_cast<size_t>(padded(tensor.bytes()) - tensor.bytes()), '\0');
      out.write(rest.data(), static_cast<std::streamsize>(rest.size()));
    }
    out.close();
    if (!out) throw_user_error({.where = "gguf", .problem = fmt::format("{}: cannot be written: {}", path.string(), std::strerror(errno))});
  });
}

}  // namespace resflow::weights
