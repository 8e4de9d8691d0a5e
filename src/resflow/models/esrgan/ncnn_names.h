// ncnn's layers of Real-ESRGAN, which are numbered, under BasicSR's names.
#pragma once

#include "resflow/weights/ncnn.h"

namespace resflow::models {

// The layers are held against what the two networks compute, step by step: order, activations, concatenations, residuals. A last resize, by which
// animevideov3-x2 and -x3 make the fourfold picture smaller again, is left out: their numbers are those of -x4. Throws UserError for anything else.
weights::TensorFile basicsr_of(const weights::NcnnModel& model);

}  // namespace resflow::models
