// Loss and gradients of a batch, its parts on several CPU threads: each thread differentiates its own part, so one that loses its core
// to other work slows the step instead of spinning at a barrier.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "resflow/train/differentiate.h"
#include "resflow/train/objective.h"

namespace resflow::train {

struct Gradients {
  std::vector<Tensor> values;                         // in the order of the parameters
  double loss = 0;                                    // mean over the batch
  std::vector<std::pair<std::string, double>> terms;  // likewise
  Tensor pattern;                                     // the mean of the parts' patterns; may be undefined
};

// bf16: run the forward pass under autocast. first_index: the run-wide number of the batch's first sample. sink: told each gradient while the
// backward pass goes on, where one worker has the whole batch; not called where several share it.
Gradients compute_gradients(const Objective& objective, const std::vector<Tensor>& parameters, const Batch& batch, int64_t first_index,
                            int64_t workers, bool bf16, const GradientSink& sink = {});

}  // namespace resflow::train
