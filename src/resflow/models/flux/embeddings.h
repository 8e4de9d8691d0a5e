// What steers every block of FLUX: time, guidance and the text's one vector, embedded and added (diffusers:
// CombinedTimestepGuidanceTextProjEmbeddings, and CombinedTimestepTextProjEmbeddings without guidance).
#pragma once

#include <optional>

#include "resflow/models/flux/config.h"
#include "resflow/nn/timestep.h"

namespace resflow::models {

class FluxTextEmbedder : public nn::Module {
 public:
  FluxTextEmbedder(Module& parent, const std::string& name, int64_t in, int64_t width);
  Tensor forward(const Tensor& pooled) const;  // [B, in] -> [B, D]
  nn::Linear linear_1, linear_2;
};

class FluxEmbedding : public nn::Module {
 public:
  FluxEmbedding(Module& parent, const std::string& name, const FluxConfig& config);

  // timestep [B], 0..1; guidance [B], the scale itself, or undefined: just as the model was trained. pooled [B, 768]. -> [B, D]
  // Both numbers are embedded in float32 (as ComfyUI does); diffusers rounds them to the weights' type first, whose 3.5 times 1000 is
  // 3504 in bf16.
  Tensor forward(const Tensor& timestep, const Tensor& guidance, const Tensor& pooled) const;

  nn::TimestepEmbedder timestep_embedder;
  std::optional<nn::TimestepEmbedder> guidance_embedder;
  FluxTextEmbedder text_embedder;
};

}  // namespace resflow::models
