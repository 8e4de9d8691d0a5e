// The GGUF format, versions 2 and 3: magic | counts | key-value pairs | tensors' names, shapes, types and places | aligned bytes.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <filesystem>
#include <string_view>

#include "resflow/core/json.h"
#include "resflow/weights/tensor_table.h"
#include "resflow/weights/written_tensor.h"

namespace resflow::weights {

bool is_gguf(std::string_view bytes);

// Reads and validates all that describes tensors. Shapes are turned round, as PyTorch has them; what city96's tools had to reshape has its own shape
// again ("comfy.gguf.orig_shape.NAME"). Metadata: every value that is not an array, as text. `path` is for the messages. Throws UserError.
TensorTable read_gguf(const std::filesystem::path& path, std::string_view bytes);

// Version 3, written whole or not at all. Pairs: texts, and whole numbers (as uint32); shapes are turned round again. Throws UserError where the file
// cannot be written.
void write_gguf(const std::filesystem::path& path, const std::vector<WrittenTensor>& tensors, const Json& pairs);

// All key-value pairs, arrays too ("tokenizer.ggml.tokens"). Throws UserError.
Json read_gguf_metadata(const std::filesystem::path& path);

}  // namespace resflow::weights
