#include "resflow/models/flux/embeddings.h"

#include <ATen/ATen.h>

namespace resflow::models {
namespace {

constexpr int64_t kSinusoids = 256;
constexpr double kTimeFactor = 1000;  // of both numbers

}  // namespace

FluxTextEmbedder::FluxTextEmbedder(Module& parent, const std::string& name, int64_t in, int64_t width)
    : Module(parent, name), linear_1(*this, "linear_1", in, width), linear_2(*this, "linear_2", width, width) {}

Tensor FluxTextEmbedder::forward(const Tensor& pooled) const { return linear_2.forward(at::silu(linear_1.forward(pooled))); }

FluxEmbedding::FluxEmbedding(Module& parent, const std::string& name, const FluxConfig& config)
    : Module(parent, name),
      timestep_embedder(*this, "timestep_embedder", kSinusoids, config.width()),
      text_embedder(*this, "text_embedder", config.pooled_projection_dim, config.width()) {
  if (config.guidance_embeds) guidance_embedder.emplace(*this, "guidance_embedder", kSinusoids, config.width());
}

Tensor FluxEmbedding::forward(const Tensor& timestep, const Tensor& guidance, const Tensor& pooled) const {
  TORCH_CHECK(guidance.defined() == guidance_embedder.has_value(),
              guidance_embedder ? "FLUX: this model is fed a guidance scale" : "FLUX: this model takes no guidance scale");
  const auto number = [](const Tensor& value) { return value.to(at::kFloat) * kTimeFactor; };
  Tensor out = timestep_embedder.forward(number(timestep)) + text_embedder.forward(pooled);
  if (guidance_embedder) out = out + guidance_embedder->forward(number(guidance));
  return out;
}

}  // namespace resflow::models
