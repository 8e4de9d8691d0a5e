// Linear maps from an embedding to a number: LAION's aesthetic predictors (of a CLIP image embedding of unit length, a mark of about 1..10),
// and ImageReward's head.
#pragma once

#include <filesystem>
#include <string_view>

#include "resflow/core/tensor.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::rewards {

// A file of one layer (weight, bias) or of layers one after another (layers.0.weight, ...): nothing stands between them, so they are
// multiplied out to one, in double.
class AestheticHead {
 public:
  // A checkpoint of PyTorch or a safetensors file. Throws UserError.
  static AestheticHead load(const std::filesystem::path& path);
  // Of a larger file: the layers' names begin with `layers`, such as "mlp.layers.".
  static AestheticHead load(const weights::TensorFile& file, std::string_view layers = "layers.");
  // embeddings [N, E] -> double [N]
  Tensor forward(const Tensor& embeddings) const;
  int64_t width() const { return weight_.size(1); }  // E

 private:
  Tensor weight_, bias_;  // double [1, E], [1]
};

}  // namespace resflow::rewards
