// ncnn's models: a text of layers (X.param) and their numbers (X.bin). https://github.com/Tencent/ncnn, docs/developer-guide/
// param-and-model-file-structure.md and src/modelbin.cpp.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "resflow/weights/tensor_file.h"

namespace resflow::weights {

struct NcnnLayer {
  std::string type, name;                       // "Convolution", "Conv_0"
  std::vector<std::string> inputs, outputs;     // blobs
  std::map<int, std::vector<double>> settings;  // by ncnn's number; an array's numbers without their count

  // The first number of a setting, or what ncnn takes where it is not there.
  double setting(int number, double otherwise) const;
};

struct NcnnModel {
  std::vector<NcnnLayer> layers;  // in the file's order, which is the order of the work
  // "Conv_0.weight" [out, in, k, k], "Conv_0.bias" [out] where there is one, "PRelu_1.weight" [C]; float16 or float32, in the order of the layers.
  TensorFile tensors;
};

// Layers that have numbers are Convolution and PReLU; those without: Input, Split, Concat, Eltwise, BinaryOp, Interp, PixelShuffle. `file` is told
// in the messages and by tensors.path(). Throws UserError: not such a text, another layer, int8 numbers, groups, and a `bin` that ends early or late.
NcnnModel read_ncnn(const std::string& file, std::string_view param, std::string_view bin);

}  // namespace resflow::weights
