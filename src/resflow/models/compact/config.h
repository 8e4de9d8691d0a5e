// The shape of the compact model. Stored as JSON in the weight file's metadata ("config").
#pragma once

#include <string>

#include "resflow/core/fields.h"

namespace resflow::models {

struct CompactConfig {
  int64_t channels = 64;       // width of the convolutions, at a quarter of the image's resolution
  int64_t remover_blocks = 6;  // residual blocks of the degradation remover
  int64_t stem_blocks = 2;     // residual blocks before the tokens
  int64_t head_blocks = 4;     // residual blocks after the tokens
  int64_t refine = 0;          // width of the last convolutions, at full resolution; 0 = none (files that do not name it)
  int64_t width = 192;         // tokens
  int64_t heads = 3;
  int64_t depth = 4;  // transformer blocks
  int64_t mlp_ratio = 4;
  // How the condition's tokens reach the latent ones: as tokens of the sequence (ours), added to them, or through a control network (what the paper
  // compares with).
  std::string fusion = "sequence";
  int64_t condition_rank = 16;  // rank of the condition tokens' deltas, of a sequence
  bool words = false;           // text tokens in the sequence: what is wrong with the picture (words.h); files that do not name it have none
  int64_t radius = 3;           // tokens (16 px) a token sees in each direction
  double sigma_data = 0.05;     // expected RMS of (clean image - remover's output), 0..1 units
  double shared_noise = 0;      // size of the start noise's part that a whole picture shares, to its white part

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("channels", o.channels, "Width of the convolutions", Range{8, 1024});
    visit("remover_blocks", o.remover_blocks, "Residual blocks of the degradation remover", Range{1, 64});
    visit("stem_blocks", o.stem_blocks, "Residual blocks before the tokens", Range{0, 64});
    visit("head_blocks", o.head_blocks, "Residual blocks after the tokens", Range{0, 64});
    visit("refine", o.refine, "Width of the last convolutions, at full resolution; 0 = none", Range{0, 256});
    visit("width", o.width, "Width of the tokens", Range{16, 4096});
    visit("heads", o.heads, "Attention heads", Range{1, 64});
    visit("depth", o.depth, "Transformer blocks", Range{0, 64});
    visit("mlp_ratio", o.mlp_ratio, "Feed-forward width over token width", Range{1, 8});
    visit("fusion", o.fusion, "How the condition's tokens reach the latent ones", OneOf{{"sequence", "addition", "controlnet"}});
    visit("condition_rank", o.condition_rank, "Rank of the condition tokens' deltas", Range{0, 256});
    visit("words", o.words, "Words for the degradation as text tokens of a sequence");
    visit("radius", o.radius, "Tokens a token sees in each direction", Range{1, 64});
    visit("sigma_data", o.sigma_data, "Expected RMS of what the flow adds, 0..1 units", Range{1e-4, 1});
    visit("shared_noise", o.shared_noise, "Start noise that a whole picture shares, relative to its white part", Range{0, 4});
  }
};

}  // namespace resflow::models
