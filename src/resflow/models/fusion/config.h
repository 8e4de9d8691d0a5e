// How a condition image is fused with FLUX's text and latent tokens, and what of it is trained.
#pragma once

#include "resflow/models/fusion/position.h"
#include "resflow/nn/linear.h"

namespace resflow::models {

struct FusionConfig {
  // sequence: [text ; z ; C], unified multi-modal fusion. addition and controlnet: what the paper compares it with.
  std::string fusion = "sequence";
  std::string condition = "lq";                            // the picture that is shown; both: a sequence has room for two
  std::string condition_attention = "independent";         // of a sequence: flux/blocks.h
  int64_t rank = 16;                                       // of the adapter, which sequence and addition train
  std::string lora_scope = "condition";                    // the tokens that a sequence's adapter acts on; addition has no others than all
  double alpha = 0;                                        // of the adapter: its deltas are scaled by alpha / rank; 0: the rank
  int64_t control_layers = 4, control_single_layers = 10;  // of the ControlNet (diffusers: from_transformer)
  ConditionPosition position;

  int64_t pictures() const { return condition == "both" ? 2 : 1; }  // in a condition
  nn::LoraTokens lora_tokens() const { return fusion == "sequence" && lora_scope == "condition" ? nn::LoraTokens::condition : nn::LoraTokens::all; }
  double lora_scale() const { return alpha > 0 ? alpha / static_cast<double>(rank) : 1; }

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("fusion", o.fusion, "How the condition image reaches the transformer", OneOf{{"sequence", "addition", "controlnet"}});
    visit("condition", o.condition, "The condition image: the poor picture, the degradation remover's, or both, one after the other in a sequence",
          OneOf{{"lq", "reference", "both"}});
    visit("condition_attention", o.condition_attention, "What the condition's tokens of a sequence attend to: all, or themselves (cacheable)",
          OneOf{{"full", "independent"}});
    visit("rank", o.rank, "Rank of the adapter", Range{1, 4096});
    visit("lora_scope", o.lora_scope, "Tokens that a sequence's adapter acts on: the condition's (OminiControl's scheme), or all (an ordinary LoRA)",
          OneOf{{"condition", "all"}});
    visit("alpha", o.alpha, "Its deltas are scaled by alpha / rank; 0 = the rank", Range{0, 65536});
    visit("control_layers", o.control_layers, "Double-stream blocks of the ControlNet", Range{0, 256});
    visit("control_single_layers", o.control_single_layers, "Single-stream blocks of the ControlNet", Range{0, 256});
    visit("position", o.position, "Where the condition's tokens stand");
  }
};

}  // namespace resflow::models
