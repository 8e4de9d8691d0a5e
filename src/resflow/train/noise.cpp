#include "resflow/train/noise.h"

#include <ATen/ATen.h>

namespace resflow::train {

Tensor start_noises(const models::CompactFlow& flow, const std::vector<Stream>& streams, const Tensor& like) {
  std::vector<Tensor> white, shared;
  for (const auto& stream : streams) shared.push_back(flow.shared_noise(stream));
  const auto device = like.device();
  if (!device.is_cuda()) {
    for (const auto& stream : streams) white.push_back(normal_like_shape(stream, like.sizes().slice(1)));
    return at::stack(white) + at::cat(shared);
  }
  at::Generator generator = at::globalContext().defaultGenerator(device);
  for (const auto& stream : streams) {  // each by itself, so that it is the same in whatever part of a batch
    {
      const std::lock_guard lock(generator.mutex());
      generator.set_current_seed(Stream(stream).bits());
    }
    white.push_back(at::randn(like.sizes().slice(1), generator, like.options()));
  }
  return at::stack(white) + at::cat(shared).to(device);
}

}  // namespace resflow::train
