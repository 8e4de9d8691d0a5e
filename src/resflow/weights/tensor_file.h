// A file of named tensors, of any format that can be read: safetensors, PyTorch's own checkpoints and GGUF, told apart by their first bytes.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::weights {

// An open file. Its bytes are mapped, not read: opening costs the header alone, and a tensor's pages are fetched when it is used.
// Copies are cheap and share the mapping. Never change such a file in place while it is open: write a new one over it
// (write_safetensors does).
class TensorFile {
 public:
  // Validates everything that describes tensors: every type, shape and place (safetensors.h, torch_checkpoint.h, gguf.h). Nothing that a file
  // holds is ever executed. Throws UserError: "[safetensors] FILE: tensor 'x': ...: wanted ..., got .... hint".
  static TensorFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const;
  const std::string& format() const;       // "safetensors", "torch", "gguf"
  std::vector<std::string> names() const;  // safetensors: in the order of their bytes; a checkpoint: as saved
  bool contains(std::string_view name) const;
  std::vector<int64_t> shape(std::string_view name) const;
  c10::ScalarType dtype(std::string_view name) const;          // of what get() gives
  std::string stored_type(std::string_view name) const;        // of what the file holds: "f16", "Q4_K"
  const std::map<std::string, std::string>& metadata() const;  // a checkpoint has none

  // On the CPU, contiguous. A view of the mapping, which lives as long as any such tensor; writing to it changes the tensor (copy on
  // write) and never the file. Copied where the bytes are not aligned to the element's size or not contiguous, and for BOOL. Two names
  // of a checkpoint may share their bytes, as tied weights do. Quantised tensors of GGUF become float32. Throws UserError where absent.
  Tensor get(std::string_view name) const;

 private:
  struct Contents;
  explicit TensorFile(std::shared_ptr<const Contents> contents) : contents_(std::move(contents)) {}
  std::shared_ptr<const Contents> contents_;
};

}  // namespace resflow::weights
