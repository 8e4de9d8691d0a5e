// Training a fusion for FLUX, whose own weights stay as they are.
//
// In the run's folder: checkpoint.safetensors (all state; a run started again goes on from it and has the losses it would have had), log.jsonl,
// events.out.tfevents.*, and the moving average of what is trained: adapter.safetensors (PEFT's form, as diffusers loads it), or
// controlnet/ (diffusers' folder).
#pragma once

#include "resflow/train/trainer.h"

namespace resflow::train {

// Runs to options.steps, resuming where the folder has a checkpoint. A stop (job.stop) writes a checkpoint and throws Cancelled.
TrainResult train_flux(const TrainOptions& options, Ranks& ranks, const Job& job = {});

// What a run trains and needs, without any weights: parameters of both, bytes by use, and the shape they are counted for ("shape": the model's
// path, or "FLUX.1-dev" where there is none). Bytes of activations are an estimate for `image_tokens`, as many of the condition, `text_tokens`.
struct FluxNeed {
  int64_t image_tokens = 1024, text_tokens = 512;
};
Json flux_need(const TrainOptions& options, const FluxNeed& size = {});

}  // namespace resflow::train
