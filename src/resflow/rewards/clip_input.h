// Images as CLIP's image towers were trained to see them (OpenAI's preprocessing; ImageReward's is the same).
#pragma once

#include "resflow/core/tensor.h"

namespace resflow::rewards {

// images float [N, 3, H, W], 0..1 (beyond is cut) -> the channels' mean and deviation in CLIP's data taken out, same shape.
Tensor clip_normalised(const Tensor& images);

// The shorter side to `side` by antialiased bicubic (Pillow's kernel), the longer in proportion, rounded down; the middle; normalised. What
// the resize overshoots is cut to 0..1, as 8 bits would.
// Numbers stay float: published code rounds to 8 bits before and after the resize, which moves a value by 1/510 at most each time.
// -> [N, 3, side, side]
Tensor clip_input(const Tensor& images, int64_t side);

}  // namespace resflow::rewards
