// How the weights of a model's part come into memory.
#pragma once

#include "resflow/weights/load.h"

namespace resflow::generate {

// Computing in `dtype` on `device`. Where the file's numbers are no wider than that, matrices stay as they are stored - on the CPU they are the
// file's own mapped bytes - and are widened for each use; wider ones are converted once.
weights::Conversion conversion_of(const weights::TensorFile& file, c10::Device device, c10::ScalarType dtype);

}  // namespace resflow::generate
