// How the ranks of a run under torchrun work together.
#pragma once

#include <string>

#include "resflow/core/fields.h"

namespace resflow::train {

struct RankOptions {
  std::string backend = "auto";
  int64_t timeout = 1800;
  double bucket = 4;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("backend", o.backend, "What carries gradients between the ranks of a run under torchrun: gloo, or nccl (a GPU each); auto = nccl on GPUs",
          OneOf{{"auto", "gloo", "nccl"}});
    visit("timeout", o.timeout,
          "Seconds that a rank waits for the others before it gives up; what one does alone, a validation or the "
          "packing of pictures, must fit in",
          Range{1, 1e6});
    visit("bucket", o.bucket, "Megabytes of gradients that travel at a time, while the backward pass goes on", Range{1e-3, 1e4});
  }
};

}  // namespace resflow::train
