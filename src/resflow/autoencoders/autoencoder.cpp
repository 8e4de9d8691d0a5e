#include "resflow/autoencoders/autoencoder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/registry.h"

namespace resflow::autoencoders {

#define RESFLOW_AUTOENCODER(theirs, ours) std::unique_ptr<Autoencoder> make_##ours(const Json& config, const std::string& where);
#include "resflow/autoencoders/list.inc"
#undef RESFLOW_AUTOENCODER

Tensor Autoencoder::encode(const Tensor& image) const {
  check_shape(image, "B 3 H W", "image");
  TORCH_CHECK(image.size(2) % reduction() == 0 && image.size(3) % reduction() == 0, "autoencoder: wanted sides that are multiples of ", reduction(),
              ", got ", image.sizes());
  return (encode_raw(image).to(at::kFloat) - shift()) * scale();
}

Tensor Autoencoder::decode(const Tensor& latent) const {
  check_shape(latent, fmt::format("B {} h w", latent_channels()), "latent");
  return decode_raw(latent / scale() + shift()).to(at::kFloat);
}

Tensor Autoencoder::as_weights(const Tensor& x) const { return x.to(named_parameters().front().slot->scalar_type()); }

std::unique_ptr<Autoencoder> make_autoencoder(const Json& config, const std::string& where) {
  const auto found = config.find("_class_name");
  const auto name = found != config.end() && found->is_string() ? found->get<std::string>() : std::string();
#define RESFLOW_AUTOENCODER(theirs, ours) \
  if (name == #theirs) return make_##ours(config, where);
#include "resflow/autoencoders/list.inc"
#undef RESFLOW_AUTOENCODER
  const std::vector<std::string> known = {
#define RESFLOW_AUTOENCODER(theirs, ours) #theirs,
#include "resflow/autoencoders/list.inc"
#undef RESFLOW_AUTOENCODER
  };
  throw_unknown_name("_class_name in " + where, name, known);
}

}  // namespace resflow::autoencoders
