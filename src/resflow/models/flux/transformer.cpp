#include "resflow/models/flux/transformer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

namespace resflow::models {

FluxTransformer::FluxTransformer(const FluxConfig& config)
    : config_(config),
      time_text_embed_(*this, "time_text_embed", config),
      context_embedder_(*this, "context_embedder", config.joint_attention_dim, config.width()),
      x_embedder_(*this, "x_embedder", config.in_channels, config.width()),
      norm_out_linear_(*this, "norm_out.linear", config.width(), 2 * config.width()),
      proj_out_(*this, "proj_out", config.width(), config.token_out()) {
  config.check("FLUX");
  const BlockConfig block = config.block();
  for (int64_t i = 0; i < config.num_layers; ++i)
    transformer_blocks_.push_back(std::make_unique<FluxDoubleBlock>(*this, fmt::format("transformer_blocks.{}", i), block));
  for (int64_t i = 0; i < config.num_single_layers; ++i)
    single_transformer_blocks_.push_back(std::make_unique<FluxSingleBlock>(*this, fmt::format("single_transformer_blocks.{}", i), block));
}

Tensor FluxTransformer::forward(const FluxInput& input) const {
  check_shape(input.hidden_states, fmt::format("B L {}", config_.in_channels), "hidden_states");
  check_shape(input.encoder_hidden_states, fmt::format("B T {}", config_.joint_attention_dim), "encoder_hidden_states");
  const int64_t count = input.encoder_hidden_states.size(1), length = input.hidden_states.size(1);  // T, L
  check_shape(input.img_ids, fmt::format("{} {}", length, config_.axes_dims_rope.size()), "img_ids");
  check_shape(input.txt_ids, fmt::format("{} {}", count, config_.axes_dims_rope.size()), "txt_ids");

  const auto dtype = x_embedder_.weight.scalar_type();
  const Tensor temb = time_text_embed_.forward(input.timestep, input.guidance, input.pooled.to(dtype));  // [B, D]
  const auto image_rope = nn::make_rope(input.img_ids, config_.axes_dims_rope), text_rope = nn::make_rope(input.txt_ids, config_.axes_dims_rope);

  FluxDoubleBlock::Tokens tokens{.image = x_embedder_.forward(input.hidden_states.to(dtype)),                // [B, L, D]
                                 .text = context_embedder_.forward(input.encoder_hidden_states.to(dtype))};  // [B, T, D]
  for (const auto& block : transformer_blocks_) tokens = block->forward(tokens, temb, image_rope, text_rope);

  Tensor x = at::cat({tokens.text, tokens.image}, 1);  // [B, T + L, D]
  const auto rope = nn::concatenate(text_rope, image_rope);
  for (const auto& block : single_transformer_blocks_) x = block->forward(x, temb, rope);
  x = x.narrow(1, count, length);  // [B, L, D]

  const auto modulation = norm_out_linear_.forward(at::silu(temb)).unsqueeze(1).chunk(2, -1);
  const Tensor &scale = modulation[0], &shift = modulation[1];
  return proj_out_.forward(nn::plain_layer_norm(x) * (1 + scale) + shift);  // [B, L, 64]
}

}  // namespace resflow::models
