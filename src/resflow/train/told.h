// What a degradation that was thrown amounts to, in the compact model's words.
#pragma once

#include "resflow/degradation/plan.h"
#include "resflow/models/compact/words.h"

namespace resflow::train {

// Of a picture that is made `scale` times smaller. Measured in pixels and grey levels of what comes out: blur by the standard deviation of all blurs
// together, noise by that of both noises at mid-grey, each averaged over the pixels that later become one, compression by the last JPEG.
models::Words words_for(const degradation::Plan& plan, int scale);

}  // namespace resflow::train
