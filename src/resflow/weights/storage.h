// What a converted model's numbers become in its new file.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "resflow/weights/tensor_file.h"
#include "resflow/weights/written_tensor.h"

namespace resflow::weights {

enum class Container { safetensors, gguf };

// Counts what a conversion lost, over the tensors whose numbers are not what they were.
struct ConversionLoss {
  double squares = 0, error_squares = 0;
  int64_t changed = 0;      // tensors
  double relative() const;  // root of the mean squared error over that of the numbers, among the tensors that changed
};

struct Storage {
  Container container = Container::safetensors;
  // f32, f16, bf16, q8_0, q4_0, q4_k (GGUF) or fp8 (safetensors, e4m3 with a scale a layer). "": as they are, where the container has that; ggml's
  // blocks become bf16 in safetensors, float8 becomes bf16 in GGUF.
  std::string type;
  // Layers that no block or float8 is good enough for: the first and the last.
  std::function<bool(const std::string& name)> keep = [](const std::string&) { return false; };
};

// Every tensor of the file, to be written in that form. Blocks and float8 take matrices of more than 1024 numbers; in GGUF what is smaller or has
// one axis is f32 (city96's convention), and where a row is no whole block the next larger type that fits is taken. Scales of float8 are tensors
// of their own, "X.weight_scale" (ComfyUI's newer form); `metadata` gets its "_quantization_metadata". `loss` grows while the tensors are made.
// Throws UserError on a type that is not known, or that the container cannot hold.
std::vector<WrittenTensor> tensors_as(const TensorFile& file, const Storage& storage, std::map<std::string, std::string>& metadata,
                                      const std::shared_ptr<ConversionLoss>& loss);

}  // namespace resflow::weights
