// What the networks of Real-ESRGAN (2107.10833) share: a picture at its own size in, the clean and larger one out.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <memory>
#include <string>

#include "resflow/nn/module.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::models {

class EsrganNetwork : public nn::Module {
 public:
  // image: [B, 3, H, W], 0..1, sides multiples of multiple() -> [B, 3, scale H, scale W], float32, about 0..1, not clamped. Computes in the weights'
  // type; leaves no gradient.
  virtual Tensor forward(const Tensor& image) const = 0;

  virtual int64_t scale() const = 0;
  virtual int64_t multiple() const = 0;
  virtual std::string architecture() const = 0;  // "RRDBNet, 23 blocks of 64 features, x4"
};

// The network that a file holds under BasicSR's names, loaded; its shape (blocks, features, scale) is read from the tensors. Throws UserError where
// it is neither an RRDBNet nor an SRVGGNetCompact, or a tensor is missing, is too many, or has another shape than the others ask for.
std::unique_ptr<EsrganNetwork> load_esrgan(const weights::TensorFile& file, c10::Device device, c10::ScalarType dtype);

}  // namespace resflow::models
