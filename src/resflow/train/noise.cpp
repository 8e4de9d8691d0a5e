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
  {
    const std::lock_guard lock(generator.mutex());
    generator.set_current_seed(Stream(streams.front()).bits());
  }
  auto shape = like.sizes().vec();
  shape[0] = static_cast<int64_t>(streams.size());
  return at::randn(shape, generator, like.options()) + at::cat(shared).to(device);
}

}  // namespace resflow::train
