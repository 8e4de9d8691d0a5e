// Start noise for training.
#pragma once

#include <vector>

#include "resflow/models/compact/flow.h"

namespace resflow::train {

// Of pictures like `like`, [B, 3, H, W], one stream each: white noise and the part that a whole picture shares. A GPU draws the white part itself,
// each picture's from a seed of its stream: normals from the CPU would keep it waiting. -> the same shape and device
Tensor start_noises(const models::CompactFlow& flow, const std::vector<Stream>& streams, const Tensor& like);

}  // namespace resflow::train
