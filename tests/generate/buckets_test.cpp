#include <doctest/doctest.h>

#include <algorithm>

#include "resflow/generate/latent_shard.h"

using namespace resflow;
using generate::Bucket;

TEST_CASE("buckets are multiples of the step, as large as size allows, between 1:2 and 2:1, both ways round") {
  for (const auto& [size, step] : {std::pair<int64_t, int64_t>{1024, 64}, {512, 64}, {96, 32}, {1000, 16}, {64, 64}}) {
    const auto buckets = generate::buckets_of(size, step);
    CHECK(!buckets.empty());
    for (const auto& bucket : buckets) {
      CHECK(bucket.height % step == 0);
      CHECK(bucket.width % step == 0);
      CHECK(bucket.height * bucket.width <= size * size);
      CHECK((bucket.height + step) * bucket.width > size * size);
      CHECK(std::max(bucket.height, bucket.width) <= 2 * std::min(bucket.height, bucket.width));
    }
    if (size % step == 0) CHECK(std::find(buckets.begin(), buckets.end(), Bucket{size, size}) != buckets.end());
  }
}

TEST_CASE("a picture goes to the bucket of the nearest shape, a longer one to the longest") {
  const auto buckets = generate::buckets_of(1024, 64);
  CHECK(generate::nearest_bucket(buckets, 500, 500) == Bucket{1024, 1024});
  CHECK(generate::nearest_bucket(buckets, 2000, 3000) == Bucket{832, 1216});
  CHECK(generate::nearest_bucket(buckets, 3000, 2000) == Bucket{1216, 832});
  CHECK(generate::nearest_bucket(buckets, 100, 5000) == Bucket{704, 1408});
}
