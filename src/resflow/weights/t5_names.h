// Names of T5's encoder: transformers' and llama.cpp's (GGUF files; city96's loader.py, T5_SD_MAP).
#pragma once

#include "resflow/weights/tensor_file.h"

namespace resflow::weights {

// T5's encoder under transformers' names, whatever the file's, without a prefix ("text_encoders.t5xxl.transformer." in all-in-one files); a
// decoder is left out. No weight is copied. Throws UserError where the file has none.
TensorFile t5_as_transformers(const TensorFile& file);

}  // namespace resflow::weights
