// A ControlNet for FLUX (diffusers: FluxControlNetModel, under its names): a few blocks of FLUX's own kind that see the control image added to the
// latent tokens, and give what is added to the transformer's image tokens after its blocks.
#pragma once

#include <memory>
#include <vector>

#include "resflow/models/flux/transformer.h"
#include "resflow/nn/conv.h"
#include "resflow/nn/embedding.h"

namespace resflow::models {

struct FluxControlConfig {
  std::string class_name = "FluxControlNetModel";
  FluxConfig trunk;
  int64_t num_mode = 0;                         // kinds of control that a union of them tells apart; 0: one kind
  int64_t conditioning_embedding_channels = 0;  // the control is a picture, embedded to so many channels (x-labs); 0: latent tokens

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("_class_name", o.class_name, "Class of diffusers", OneOf{{"FluxControlNetModel"}});
    FluxConfig::shape_fields(o.trunk, visit);
    visit("num_mode", o.num_mode, "Kinds of control; 0 = one", Range{0, 1024});
    visit("conditioning_embedding_channels", o.conditioning_embedding_channels, "Channels that a control picture is embedded to; 0 = latent tokens",
          Range{0, 4096});
  }
};

// From a picture to an eighth of its size (x-labs' form of ControlNet's little network).
class ControlHint : public nn::Module {
 public:
  ControlHint(Module& parent, const std::string& name, int64_t out);
  Tensor forward(const Tensor& picture) const;  // [B, 3, H, W] -> [B, out, H / 8, W / 8]

 private:
  nn::Conv2d conv_in_;
  std::vector<std::unique_ptr<nn::Conv2d>> blocks_;
  nn::Conv2d conv_out_;
};

class FluxControlNet : public nn::Module {
 public:
  // Declares names and shapes. Throws UserError where sizes contradict each other.
  explicit FluxControlNet(const FluxControlConfig& config);

  // The same input as the transformer's. control: latent tokens, [B, L, 64], of a picture of the result's size; where a picture is embedded, the
  // picture, [B, 3, H, W], -1..1. mode: which kind of control, int64 [B]; undefined where the model knows one. scale: strength.
  FluxResiduals forward(const FluxInput& input, const Tensor& control, double scale = 1, const Tensor& mode = {}) const;

  // The blocks come to `device` in turns from now on; everything else moves there. Bind on the CPU before.
  void stream_blocks(c10::Device device);
  std::vector<nn::Module*> block_modules() const { return trunk_.block_modules(); }  // in the order in which they run

  const FluxControlConfig& config() const { return config_; }

 private:
  FluxControlConfig config_;
  FluxTrunk trunk_;
  std::optional<ControlHint> input_hint_block_;
  nn::Linear controlnet_x_embedder_;
  std::optional<nn::Embedding> controlnet_mode_embedder_;
  std::vector<std::unique_ptr<nn::Linear>> controlnet_blocks_, controlnet_single_blocks_;  // start as zero maps
};

}  // namespace resflow::models
