// A short name for a file's numbers.
#pragma once

#include <string>
#include <vector>

#include "resflow/weights/tensor_file.h"

namespace resflow::weights {

// FNV-1a over every tensor's bytes, in the order of the names: 16 hexadecimal digits. Tells files apart; no protection against forgery.
std::string fingerprint(const TensorFile& file);
// The same of names, shapes, types and the first 256 bytes of each tensor, for models that take minutes to read.
std::string sampled_fingerprint(const std::vector<TensorFile>& files);

}  // namespace resflow::weights
