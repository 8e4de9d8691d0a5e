// A training run: data, objective, optimiser, checkpoints, log.
//
// In the run's folder: checkpoint.safetensors (all state; a run started again goes on from it and has the losses it would have had),
// weights.safetensors (the moving average, half precision), log.jsonl, events.out.tfevents.*, samples/STEP.png.
#pragma once

#include "resflow/core/progress.h"
#include "resflow/train/options.h"
#include "resflow/train/ranks.h"

namespace resflow::train {

struct TrainResult {
  int64_t step = 0;  // steps done in all
  double loss = 0;   // the last logged one
  Json validation;   // of the last validation, or null
};

// Runs to options.steps, resuming where the folder has a checkpoint. A stop (job.stop, of any rank) writes a checkpoint and throws Cancelled. Each of
// several ranks calls it; the first alone reads and writes the folder, validates and reports.
TrainResult train(const TrainOptions& options, Ranks& ranks, const Job& job = {});

// Validates the run's current weights without training. Of one process.
Json validate(const TrainOptions& options);

// How fast the run's batches are prepared where no training keeps the loaders waiting, for about `seconds`. Nothing is written.
// -> {"crops", "seconds", "crops_per_second", "loaders"}; loading of the first batches, which finds cold files, is left out. Throws UserError,
// Cancelled.
Json measure_loading(const TrainOptions& options, double seconds, const Job& job = {});

}  // namespace resflow::train
