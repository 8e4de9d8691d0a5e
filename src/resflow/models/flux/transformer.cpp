#include "resflow/models/flux/transformer.h"

#include <ATen/ATen.h>

namespace resflow::models {
namespace {

// A ControlNet's sample for block `index` of `blocks`, or undefined.
Tensor sample_of(const std::vector<Tensor>& samples, size_t index, size_t blocks, bool repeat) {
  if (samples.empty()) return {};
  const size_t each = (blocks + samples.size() - 1) / samples.size();
  return samples.at(repeat ? index % samples.size() : index / each);
}

}  // namespace

FluxTransformer::FluxTransformer(const FluxConfig& config)
    : config_(config),
      trunk_(*this, config),
      norm_out_linear_(*this, "norm_out.linear", config.width(), 2 * config.width()),
      proj_out_(*this, "proj_out", config.width(), config.token_out()) {}

Tensor FluxTransformer::forward(const FluxInput& input) const {
  FluxTrunk::AfterBlock after;
  const auto& [doubles, singles, repeat] = input.residuals;
  if (!doubles.empty() || !singles.empty())
    after = [&](FluxTrunk::Kind kind, size_t index, const Tensor& image) {
      const bool is_double = kind == FluxTrunk::Kind::double_stream;
      const Tensor sample = is_double ? sample_of(doubles, index, static_cast<size_t>(config_.num_layers), repeat)
                                      : sample_of(singles, index, static_cast<size_t>(config_.num_single_layers), false);
      return sample.defined() ? image + sample.to(image.scalar_type()) : image;
    };
  Tensor temb;
  const Tensor x = trunk_.forward(input, after, temb);  // [B, L, D]

  const auto modulation = norm_out_linear_.forward(at::silu(temb)).unsqueeze(1).chunk(2, -1);
  const Tensor &scale = modulation[0], &shift = modulation[1];
  return proj_out_.forward(nn::plain_layer_norm(x) * (1 + scale) + shift);  // [B, L, 64]
}

void FluxTransformer::stream_blocks(c10::Device device) {
  trunk_.stream_blocks(device);
  if (!device.is_cpu()) move_beside_blocks(*this, device);
}

FluxCondition FluxTransformer::prepare(FluxCondition condition, const Tensor& pooled) const {
  condition.blocks = trunk_.prepare(condition, pooled);
  return condition;
}

}  // namespace resflow::models
