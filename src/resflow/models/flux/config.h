// The shape of a FLUX.1 transformer, as diffusers' transformer/config.json tells it. Defaults are FluxTransformer2DModel's own: they stand for
// keys that a file leaves out.
#pragma once

#include "resflow/core/fields.h"
#include "resflow/models/blocks.h"

namespace resflow::models {

struct FluxConfig {
  std::string class_name = "FluxTransformer2DModel";
  int64_t patch_size = 1;
  int64_t in_channels = 64;             // of a token: 64 plain and Kontext, 128 Control, 384 Fill
  int64_t out_channels = 0;             // 0: as many as come in
  int64_t num_layers = 19;              // double-stream blocks
  int64_t num_single_layers = 38;       // single-stream blocks
  int64_t attention_head_dim = 128;     // E
  int64_t num_attention_heads = 24;     // H
  int64_t joint_attention_dim = 4096;   // width of the text's tokens
  int64_t pooled_projection_dim = 768;  // width of the text's one vector
  bool guidance_embeds = false;         // fed a guidance scale (dev), or not (schnell)
  std::vector<int64_t> axes_dims_rope = {16, 56, 56};

  // Throws UserError where sizes contradict each other.
  void check(const std::string& where) const;

  int64_t width() const { return num_attention_heads * attention_head_dim; }  // D
  int64_t token_out() const { return patch_size * patch_size * (out_channels > 0 ? out_channels : in_channels); }
  BlockConfig block() const { return {.width = width(), .heads = num_attention_heads, .mlp_ratio = 4, .condition_rank = 0}; }

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("_class_name", o.class_name, "Class of diffusers", OneOf{{"FluxTransformer2DModel"}});
    shape_fields(o, visit);
  }
  // The fields that a ControlNet's configuration has too.
  template <class Self, class Visitor>
  static void shape_fields(Self& o, Visitor&& visit) {
    visit("patch_size", o.patch_size, "Side of a token's patch beyond the packing", Range{1, 8});
    visit("in_channels", o.in_channels, "Width of a token that comes in", Range{1, 4096});
    visit("out_channels", o.out_channels, "Width of a token that goes out; 0 = as it came in", Range{0, 4096});
    visit("num_layers", o.num_layers, "Double-stream blocks", Range{0, 256});
    visit("num_single_layers", o.num_single_layers, "Single-stream blocks", Range{0, 256});
    visit("attention_head_dim", o.attention_head_dim, "Width of a head", Range{2, 1024});
    visit("num_attention_heads", o.num_attention_heads, "Attention heads", Range{1, 256});
    visit("joint_attention_dim", o.joint_attention_dim, "Width of the text's tokens", Range{1, 65536});
    visit("pooled_projection_dim", o.pooled_projection_dim, "Width of the text's one vector", Range{1, 65536});
    visit("guidance_embeds", o.guidance_embeds, "Whether a guidance scale is embedded");
    visit("axes_dims_rope", o.axes_dims_rope, "Width of a head that each axis of the positions turns");
  }
};

}  // namespace resflow::models
