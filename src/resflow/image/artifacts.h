// Detectors of what tiles and patches can leave behind. They look at the grey mean of the channels, at the jump between two
// neighbouring pixels less the slope around it, relative to the local texture: so a step of 1/255 in a smooth sky counts and
// an edge of the scene hardly does.
#pragma once

#include <cstdint>
#include <vector>

#include "resflow/core/tensor.h"
#include "resflow/image/tiles.h"

namespace resflow::image {

// Steps along the tiles' inner borders. For each border segment of each tile: the mean signed jump across it, over the
// root mean square of the same at the lines 2 to 9 px beside it; the largest of all. Without seams 1 to 3.5 (an edge of the
// scene may lie on a border); a step of 2/255 along 512 px of a photograph gives 6 (median), in smooth parts far more.
// 0 where there is no inner border. image: float [C, H, W], 0..1; tiles outside of it are cut.
double seam_score(const Tensor& image, const std::vector<Tile>& tiles);

// A grid of lines every `period` px from the top left: mean jump at its lines over the mean jump elsewhere, the larger of both
// directions. 1.0 = none (photographs of 512 px: 0.98 to 1.07); blocks that differ by up to 1/255 give 1.09, up to 2/255 1.22
// (medians). image: float [C, H, W], 0..1, at least 3 periods on each side; period >= 4.
double grid_score(const Tensor& image, int64_t period);

}  // namespace resflow::image
