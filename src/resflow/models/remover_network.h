// What the public networks that can take the degradation remover's place share (Real-ESRGAN's, 2107.10833; SwinIR, 2108.10257): a picture in,
// the clean and as large or larger one out.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <memory>
#include <string>

#include "resflow/nn/module.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::models {

class RemoverNetwork : public nn::Module {
 public:
  // image: [B, 3, H, W], 0..1, sides multiples of multiple() -> [B, 3, scale H, scale W], float32, about 0..1, not clamped. Computes in the weights'
  // type; leaves no gradient.
  virtual Tensor forward(const Tensor& image) const = 0;

  virtual int64_t scale() const = 0;
  virtual int64_t multiple() const = 0;
  // Whether it was trained on poor pictures enlarged to the good ones' size beforehand, and wants the like.
  virtual bool wants_enlarged() const { return false; }
  // How far beyond a tile's own pixels it should see at each side, so that tiles agree where they meet. Pixels of what it sees.
  virtual int64_t margin() const { return 24; }  // x4plus looks so far that a narrower border would show
  virtual std::string architecture() const = 0;  // "RRDBNet, 23 blocks of 64 features, x4"
};

// The network that a file holds under its authors' names, loaded; its shape (blocks, features, scale) is read from the tensors. Throws UserError
// where it is no RRDBNet, SRVGGNetCompact or SwinIR, or a tensor is missing, is too many, or has another shape than the others ask for.
std::unique_ptr<RemoverNetwork> load_remover_network(const weights::TensorFile& file, c10::Device device, c10::ScalarType dtype);

}  // namespace resflow::models
