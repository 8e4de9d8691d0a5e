// Between pixels and latents. A class of diffusers is one file and one line of list.inc here; weights go by diffusers' names.
#pragma once

#include <memory>
#include <string>

#include "resflow/core/json.h"
#include "resflow/nn/module.h"

namespace resflow::autoencoders {

class Autoencoder : public nn::Module {
 public:
  // image [B, 3, H, W], float, 0..1, H and W multiples of reduction() -> latent, float [B, C, H / reduction, W / reduction], shifted and scaled
  // as the flow was trained on it. The posterior's mean where the class has one: the same image always gives the same latent.
  Tensor encode(const Tensor& image) const;
  // The inverse; about 0..1, not clamped. [B, C, h, w] -> float [B, 3, h reduction, w reduction]
  Tensor decode(const Tensor& latent) const;

  virtual int64_t latent_channels() const = 0;  // C
  virtual int64_t reduction() const = 0;        // pixels along a side that one latent stands for

 protected:
  Tensor as_weights(const Tensor& x) const;  // in the weights' type

 private:
  // To and from the network's own latent, neither shifted nor scaled; any floating type.
  virtual Tensor encode_raw(const Tensor& image) const = 0;
  virtual Tensor decode_raw(const Tensor& latent) const = 0;
  virtual double shift() const = 0;  // latent = (raw - shift) scale
  virtual double scale() const = 0;
};

// By the "_class_name" of diffusers' vae/config.json; weights are bound afterwards (weights/load.h). `where` is for the messages. Throws
// UserError: another class, or values that this one does not know.
std::unique_ptr<Autoencoder> make_autoencoder(const Json& config, const std::string& where);

}  // namespace resflow::autoencoders
