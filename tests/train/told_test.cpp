#include "resflow/train/told.h"

#include <doctest/doctest.h>

#include <array>

using namespace resflow;
using namespace resflow::degradation;
using models::Said;

namespace {

// Nothing happens to the picture but that it gets four times smaller.
Plan clean() {
  Plan plan;
  plan.first.jpeg_quality = plan.second.jpeg_quality = 100;
  return plan;
}

models::Words words(const Plan& plan) { return train::words_for(plan, 4); }

}  // namespace

TEST_CASE("each flaw is told by what caused it alone") {
  CHECK(words(clean()) == models::Words{Said::none, Said::none, Said::none});
  Plan blurred = clean();
  blurred.first.blur = {.kind = KernelKind::isotropic, .size = 21, .sigma_x = 3, .sigma_y = 3};
  CHECK(words(blurred) == models::Words{Said::strong, Said::none, Said::none});
  Plan noisy = clean();
  noisy.second.noise = {.strength = 12};
  noisy.second.resize_factor = .25;  // already as small as the result: nothing is averaged any more
  CHECK(words(noisy) == models::Words{Said::none, Said::strong, Said::none});
  noisy.second.noise = {.poisson = true, .strength = 1};  // 11 of 255 at mid-grey
  CHECK(words(noisy)[1] == Said::strong);
  Plan saved = clean();
  saved.second.jpeg_quality = 60;
  CHECK(words(saved) == models::Words{Said::none, Said::none, Said::strong});
}

TEST_CASE("what a later reduction averages away is not told") {
  Plan plan = clean();
  plan.first.noise = {.strength = 7};
  CHECK(words(plan)[1] == Said::none);  // 7 / 4
  plan.first.resize_factor = .25;
  CHECK(words(plan)[1] == Said::strong);
  Plan small = clean();
  small.first.blur = {.kind = KernelKind::isotropic, .size = 7, .sigma_x = .8, .sigma_y = .8};
  CHECK(words(small)[0] == Said::none);
  small.second.blur = small.first.blur;
  small.first.resize_factor = .25;  // the second blur's pixels are the result's
  CHECK(words(small)[0] == Said::strong);
}

TEST_CASE("of see-sr's pictures each is said often enough to be learnt") {
  std::array<std::array<int, models::kSaid>, models::kFlaws> counts{};
  constexpr int kDrawn = 3000;
  for (uint64_t i = 0; i < kDrawn; ++i) {
    const auto told = words(draw_plan(recipe("see-sr"), Stream(1, "plan", i)));
    for (size_t flaw = 0; flaw < told.size(); ++flaw) ++counts[flaw][static_cast<size_t>(told[flaw])];
  }
  for (const auto& flaw : counts) {
    CAPTURE(flaw[1]);
    CAPTURE(flaw[2]);
    CAPTURE(flaw[3]);
    CHECK(flaw[0] == 0);
    for (size_t said = 1; said < flaw.size(); ++said) CHECK(flaw[said] > kDrawn / 4);
  }
}
