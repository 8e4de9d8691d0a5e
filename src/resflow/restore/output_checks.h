// What can go wrong in a result without an error: told before it is written.
#pragma once

#include <string>
#include <vector>

#include "resflow/core/tensor.h"
#include "resflow/image/tiles.h"

namespace resflow::restore {

// Complaints about a result, in words with their figures; empty where it is sound:
//   values that are no numbers; a flat picture of a source that is not; a colour cast (a channel's mean off by more than 0.08);
//   seams along tiles (image/artifacts.h); a 16-px grid that the source has not.
// source [3, h, w], result [3, H, W], float; tiles as the result was made.
std::vector<std::string> complaints_about(const Tensor& source, const Tensor& result, const std::vector<image::Tile>& tiles);

}  // namespace resflow::restore
