// FLUX with a condition image: what each kind of fusion adds to the transformer, and how it runs with it.
#pragma once

#include <optional>

#include "resflow/models/fusion/adapter.h"
#include "resflow/models/fusion/config.h"
#include "resflow/models/fusion/control_net.h"

namespace resflow::models {

// How a ControlNet is used: the strength of what it adds, and which kind of control a union of them is shown.
struct ControlUse {
  double scale = 1;
  int64_t mode = -1;  // -1: the model knows one kind
};

// What is trained: sequence: the adapter, on the condition's tokens alone; addition: the adapter on every token, and condition_embedder, a linear map
// of the condition's latent tokens that starts at 0; controlnet: a ControlNet that starts as a copy of the transformer's first blocks.
class FluxFusion : public nn::Module {
 public:
  // Declares names and shapes: "lora.", "condition_embedder.", "controlnet.". flux must outlive it.
  FluxFusion(FluxTransformer& flux, const FusionConfig& config);
  // For use: an adapter, whoever made it, is on the transformer already (weights/lora_attach.h), and none is declared. control: the shape of the
  // ControlNet, for that fusion. Throws UserError where it is not this transformer's.
  FluxFusion(FluxTransformer& flux, const FusionConfig& config, const std::optional<FluxControlConfig>& control);
  ~FluxFusion() override;

  // After loading or initialising its tensors, and whenever one is replaced: puts the adapter onto the transformer.
  void attach() const;
  // For a ControlNet that is to be trained: the transformer's weights of the parts that both have.
  void copy_transformer();

  // The condition of an image, from its latent tokens [B, C, 64] on a grid of so many rows and columns; of a sequence also those of several pictures,
  // one after the other, told apart by the first axis of their positions (position.h). Reused by all steps and candidates: of an independent
  // sequence its keys and values are computed here.
  FluxCondition prepare(const Tensor& tokens, int64_t rows, int64_t columns, const Tensor& pooled) const;
  // The same, computed anew in each pass, which training needs.
  FluxCondition condition(const Tensor& tokens, int64_t rows, int64_t columns) const;

  // The velocity of input's latent tokens; its condition, addition or residuals are filled in here. A condition of batch 1 serves every sample.
  // input.guidance is left out where transformer or ControlNet take none. -> [B, L, 64]
  Tensor forward(FluxInput input, const FluxCondition& condition, const ControlUse& use = {}) const;

  const FusionConfig& config() const { return config_; }
  // What has weights of its own beside the transformer's: addition's map, or the ControlNet; null for a sequence.
  nn::Module* own_part();
  // Whether the control is a picture, [B, 3, H, W], -1..1, instead of latent tokens (x-labs).
  bool takes_picture() const { return control_net_ && control_net_->config().conditioning_embedding_channels > 0; }
  Json control_config() const;  // the ControlNet's config.json, as diffusers writes it

 private:
  FluxTransformer& flux_;
  FusionConfig config_;
  std::optional<FluxAdapter> adapter_;
  std::optional<nn::Linear> condition_embedder_;
  std::optional<FluxControlNet> control_net_;
};

}  // namespace resflow::models
