// A file of named tensors, of any format that can be read: safetensors, PyTorch's own checkpoints and GGUF, told apart by their first bytes; or a
// model's shards, as if they were one file.
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
#include "resflow/nn/quantised_weight.h"

namespace resflow::weights {

class TensorSource;

// An open file. Its bytes are mapped, not read: opening costs the header alone, and a tensor's pages are fetched when it is used.
// Copies are cheap and share the mapping. Never change such a file in place while it is open: write a new one over it
// (write_safetensors does).
class TensorFile {
 public:
  // Validates everything that describes tensors: every type, shape and place (safetensors.h, torch_checkpoint.h, gguf.h). Nothing that a file
  // holds is ever executed. Throws UserError: "[safetensors] FILE: tensor 'x': ...: wanted ..., got .... hint".
  // An index of shards ("....index.json") opens all of them; a folder, the index or the file of weights in it (shards.h).
  static TensorFile open(const std::filesystem::path& path);
  explicit TensorFile(std::shared_ptr<const TensorSource> source) : source_(std::move(source)) {}

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

  // Whether fewer bits are stored than it takes to compute: ggml's blocks, or float8.
  bool quantised(std::string_view name) const;
  // A matrix as the file has it, blocks and scales and all; a view of the mapping where get() is one, and of blocks always.
  nn::QuantisedWeight stored(std::string_view name) const;
  // The bytes of the mapping that hold the tensor, in order, for those who want to know of them without touching them. Empty: it is in no mapping.
  std::vector<std::string_view> mapped(std::string_view name) const;

 private:
  std::shared_ptr<const TensorSource> source_;
};

}  // namespace resflow::weights
