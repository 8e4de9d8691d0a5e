#include "resflow/train/rank_place.h"

#include <doctest/doctest.h>

using namespace resflow::train;

TEST_CASE("a rank takes the GPU of its number on the machine, in turns where there are fewer, or the one that is named") {
  for (const char* device : {"auto", "cuda"}) {
    CHECK(gpu_of(device, 0, 4) == 0);
    CHECK(gpu_of(device, 3, 4) == 3);
    CHECK(gpu_of(device, 3, 2) == 1);
  }
  CHECK_FALSE(gpu_of("cuda:1", 3, 4).has_value());
}
