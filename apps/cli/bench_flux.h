// What FLUX takes on this machine's device, for `resflow bench-flux`: random weights, drawn where they are used, so that no file is needed.
#pragma once

#include <string>
#include <vector>

#include "resflow/core/fields.h"

namespace resflow::cli {

struct FluxBench {
  std::string device = "auto", dtype = "auto";
  std::vector<std::string> cases = {"plain", "fp8", "stream", "condition", "train", "train-checkpoint"};
  int64_t size = 1024;
  int64_t text_tokens = 512;
  int64_t double_blocks = 19, single_blocks = 38;
  int64_t heads = 24;
  int64_t train_size = 512;
  int64_t repeats = 3;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("device", o.device, "auto, cpu, cuda or cuda:N");
    visit("dtype", o.dtype, "Number type: auto, f32, bf16, f16", OneOf{{"auto", "f32", "bf16", "f16"}});
    visit("cases", o.cases,
          "What is measured: plain, fp8 (stored in float8), stream (weights in the machine's memory), condition, train, train-checkpoint",
          OneOf{{"plain", "fp8", "stream", "condition", "train", "train-checkpoint"}});
    visit("size", o.size, "Side of the picture, and of its condition", Range{16, 8192});
    visit("text_tokens", o.text_tokens, "Tokens of text", Range{1, 4096});
    visit("double_blocks", o.double_blocks, "Double-stream blocks", Range{1, 64});
    visit("single_blocks", o.single_blocks, "Single-stream blocks", Range{1, 128});
    visit("heads", o.heads, "Attention heads of 128: the width", Range{1, 96});
    visit("train_size", o.train_size, "Side of the picture that training sees, and of its condition", Range{16, 8192});
    visit("repeats", o.repeats, "Timed runs of each; the median counts", Range{1, 1000});
  }
};

// Of each case: seconds (a pass of one sample; in training a whole step of the rank-16 adapter: pass, gradients, AdamW), and on a GPU peak_bytes,
// what libtorch's allocator held at most, and weight_bytes of it for weights. Throws UserError.
Json bench_flux(const FluxBench& bench);

}  // namespace resflow::cli
