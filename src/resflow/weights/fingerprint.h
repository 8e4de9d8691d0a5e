// A short name for a file's numbers.
#pragma once

#include <string>

#include "resflow/weights/tensor_file.h"

namespace resflow::weights {

// FNV-1a over every tensor's bytes, in the order of the names: 16 hexadecimal digits. Tells files apart; no protection against forgery.
std::string fingerprint(const TensorFile& file);

}  // namespace resflow::weights
