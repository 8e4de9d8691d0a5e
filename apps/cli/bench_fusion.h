// What caching the condition's keys and values saves, for `resflow bench --fusion`.
#pragma once

#include "resflow/core/json.h"

namespace resflow::cli {

struct FusionBench {
  int64_t double_blocks = 1, single_blocks = 2;  // of FLUX's widths; FLUX.1 has 19 and 38
  int64_t image_tokens = 1024, condition_tokens = 1024, text_tokens = 512;
  int64_t repeats = 3;
};

// Seconds of one pass, the median of `repeats`, on random weights in float32: with the condition computed in it, with the condition prepared before,
// and without one; of preparing it; and their ratios.
Json bench_fusion(const FusionBench& bench);

}  // namespace resflow::cli
