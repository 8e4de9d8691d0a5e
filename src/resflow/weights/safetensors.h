// The safetensors format: u64 length of the header (little endian) | JSON header | tensors' bytes.
// https://github.com/huggingface/safetensors#format
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::weights {

// An open file. Its bytes are mapped, not read: opening costs the header alone, and a tensor's pages are fetched when it is used.
// Copies are cheap and share the mapping. Never change such a file in place while it is open: write a new one over it
// (write_safetensors does).
class TensorFile {
 public:
  // Validates the whole header: every type, shape and offset, and that the tensors cover the file without a hole or an overlap.
  // Throws UserError: "[safetensors] FILE: tensor 'x': ...: wanted ..., got .... hint".
  static TensorFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const;
  std::vector<std::string> names() const;  // in the order of their bytes
  bool contains(std::string_view name) const;
  std::vector<int64_t> shape(std::string_view name) const;
  c10::ScalarType dtype(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const;

  // On the CPU. A view of the mapping, which lives as long as any such tensor; writing to it changes the tensor (copy on write)
  // and never the file. Copied where the bytes are not aligned to the element's size, and for BOOL. Throws UserError where absent.
  Tensor get(std::string_view name) const;

 private:
  struct Contents;
  explicit TensorFile(std::shared_ptr<const Contents> contents) : contents_(std::move(contents)) {}
  std::shared_ptr<const Contents> contents_;
};

// Written whole or not at all. Tensors of any device and layout; the same input gives the same bytes. They are stored with wider
// types first, so that each is aligned, and otherwise in the given order. Throws UserError where the file cannot be written.
void write_safetensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace resflow::weights
