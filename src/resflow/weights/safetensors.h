// The safetensors format: u64 length of the header (little endian) | JSON header | tensors' bytes.
// https://github.com/huggingface/safetensors#format
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "resflow/core/tensor.h"
#include "resflow/weights/tensor_table.h"
#include "resflow/weights/written_tensor.h"

namespace resflow::weights {

// Reads and validates the whole header of a file's `bytes`: every type, shape and offset, and that the tensors cover the file without a
// hole or an overlap. Entries are in the order of their bytes. `path` is for the messages. Throws UserError.
TensorTable read_safetensors(const std::filesystem::path& path, std::string_view bytes);

// Written whole or not at all. Tensors of any device and layout; the same input gives the same bytes. They are stored with wider
// types first, so that each is aligned, and otherwise in the given order. Throws UserError where the file cannot be written.
void write_safetensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});
// The same of tensors that are made one at a time, in the file's order.
void write_safetensors(const std::filesystem::path& path, std::vector<WrittenTensor> tensors, const std::map<std::string, std::string>& metadata);

}  // namespace resflow::weights
