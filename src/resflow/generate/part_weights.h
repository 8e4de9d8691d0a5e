// How the weights of a model's part come into memory.
#pragma once

#include "resflow/generate/memory.h"
#include "resflow/weights/load.h"

namespace resflow::generate {

// Computing in `dtype` on `device`. Where the file's numbers are no wider than that, matrices stay as they are stored - on the CPU they are the
// file's own mapped bytes - and are widened for each use; wider ones are converted once.
weights::Conversion conversion_of(const weights::TensorFile& file, c10::Device device, c10::ScalarType dtype);

// Of layers that are used once, or a few at a time: as the file has them, however wide, and on the CPU.
weights::Conversion stored_conversion(c10::ScalarType dtype);
// Of the transformer, for that mode of keeping it.
weights::Conversion transformer_conversion(const weights::TensorFile& file, c10::Device device, c10::ScalarType dtype, Offload mode);
// Of T5, which is used once: on a CPU, or where its blocks come in turns, as the file has it. float16, which T5 does not fit, becomes float32.
weights::Conversion t5_conversion(const weights::TensorFile& file, c10::Device device, c10::ScalarType dtype, Offload mode);

}  // namespace resflow::generate
