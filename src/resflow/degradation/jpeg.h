#pragma once

#include "resflow/degradation/planes.h"

namespace resflow::degradation {

// What saving as a baseline JPEG (4:2:0, libjpeg's tables for `quality` 1..100) and loading again does to a picture, in place.
// Entropy coding loses nothing and is left out; the rest follows libjpeg step by step, integer transforms included, so
// that the pixels are the same. Values are clamped to 0..1 first; results are multiples of 1/255.
void jpeg_round_trip(Planes& image, int quality);

}  // namespace resflow::degradation
