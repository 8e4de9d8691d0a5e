#include "resflow/rewards/ensemble.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>

#include "resflow/core/error.h"

using namespace resflow;
using namespace resflow::rewards;

namespace {

using Scores = std::vector<std::vector<double>>;
const double kNan = std::nan("");

}  // namespace

TEST_CASE("ranks count from the best, share ties, and put what is not a number last") {
  CHECK(ranks(std::vector<double>{3, 1, 2}) == std::vector<double>{0, 2, 1});
  CHECK(ranks(std::vector<double>{5, 7, 5, 5}) == std::vector<double>{2, 0, 2, 2});
  CHECK(ranks(std::vector<double>{kNan, 1, kNan, 2}) == std::vector<double>{2.5, 1, 2.5, 0});
}

TEST_CASE("rank fusion is the weighted mean rank on a scale of -1 to 0") {
  const std::vector<Judge> judges = {{.name = "a", .weight = 3}, {.name = "b", .weight = 1}};
  const auto fused = fuse(Scores{{10, 20, 30}, {3, 2, 1}}, judges, Fusion::rank);
  CHECK(fused.score[0] == doctest::Approx(-(3 * 2 + 0) / 4.0 / 2));
  CHECK(fused.score[1] == doctest::Approx(-0.5));
  CHECK(fused.score[2] == doctest::Approx(-(0 + 1 * 2) / 4.0 / 2));
}

TEST_CASE("z-scores do not depend on a reward's unit or origin; a reward that says the same of all has no say") {
  const std::vector<Judge> judges = {{.name = "a"}, {.name = "b"}, {.name = "flat"}};
  const auto one = fuse(Scores{{1, 2, 4}, {0.1, 0.3, 0.2}, {7, 7, 7}}, judges, Fusion::zscore);
  const auto other = fuse(Scores{{1005, 1010, 1020}, {0.1, 0.3, 0.2}, {0, 0, 0}}, judges, Fusion::zscore);
  for (size_t i = 0; i < 3; ++i) CHECK(one.score[i] == doctest::Approx(other.score[i]));
  CHECK(one.score[0] + one.score[1] + one.score[2] == doctest::Approx(0));
}

TEST_CASE("sum adds the scores as they are") {
  const std::vector<Judge> judges = {{.name = "a", .weight = 2}, {.name = "b"}};
  const auto fused = fuse(Scores{{1, 2}, {10, 30}}, judges, Fusion::sum);
  CHECK(fused.score == std::vector<double>{12, 34});
}

TEST_CASE("weight 0 is scored without a say; a judge that can tell nothing abstains") {
  const std::vector<Judge> judges = {{.name = "a"}, {.name = "held out", .weight = 0}, {.name = "mute"}};
  for (const auto fusion : {Fusion::rank, Fusion::zscore, Fusion::sum}) {
    const auto with = fuse(Scores{{1, 2, 3}, {9, 5, 1}, {kNan, kNan, kNan}}, judges, fusion);
    const auto alone = fuse(Scores{{1, 2, 3}}, std::span(judges).first(1), fusion);
    CHECK(with.score == alone.score);
  }
}

TEST_CASE("a gate drops what scores lower than its parent, or than the median, by more than it allows") {
  std::vector<Judge> judges = {{.name = "a"}, {.name = "gate", .weight = 0, .gate = 0.5}};
  const std::vector<int64_t> parents = {0, 0, 0, -1};
  const auto fused = fuse(Scores{{1, 2, 3, 4}, {5, 4.6, 4.4, 4.5}}, judges, Fusion::rank, parents);
  CHECK(fused.gated == std::vector<bool>{false, false, true, false});
  CHECK(fuse(Scores{{1, 2, 3, 4}, {5, 4.9, 4.8, 2}}, judges, Fusion::rank).gated == std::vector<bool>{false, false, false, true});
  CHECK(fuse(Scores{{1, 2, 3}, {5, kNan, 5}}, judges, Fusion::rank).gated == std::vector<bool>{false, true, false});
  judges[1].gate = -1;
  CHECK(fuse(Scores{{1, 2, 3, 4}, {5, 4.6, 4.4, 4.5}}, judges, Fusion::rank, parents).gated == std::vector<bool>(4, false));
}

TEST_CASE("gates that would drop all drop none") {
  const std::vector<Judge> judges = {{.name = "a", .gate = 0}, {.name = "b", .gate = 0}};
  CHECK(fuse(Scores{{1, 3}, {3, 1}}, judges, Fusion::rank).gated == std::vector<bool>{false, false});
}

TEST_CASE("a judge that throws on one image scores the others; what is not finite is not a number") {
  const Judge judge{.name = "picky", .score = [](const Tensor& images) -> Tensor {
                      if (images.max().item<double>() > 0.9) throw UserError("too bright");
                      return images.flatten(1).mean(1);
                    }};
  const Tensor images = at::stack({at::full({3, 4, 4}, 0.25), at::full({3, 4, 4}, 1.0), at::full({3, 4, 4}, 0.5)});
  const auto scores = score_images(judge, images);
  CHECK(scores[0] == doctest::Approx(0.25));
  CHECK(std::isnan(scores[1]));
  CHECK(scores[2] == doctest::Approx(0.5));
  const Judge infinite{.name = "infinite", .score = [](const Tensor& batch) { return at::full({batch.size(0)}, INFINITY, at::kDouble); }};
  CHECK(std::isnan(score_images(infinite, images)[0]));
}

TEST_CASE("judges over rewards check names, weights, gates and what the rewards need") {
  const RewardContext context{.lq = at::rand({1, 3, 8, 8}), .reference = at::rand({1, 3, 32, 32})};
  const std::vector<std::string> names = {"dr-consistency", "lq-consistency"}, twice = {"niqe", "niqe"}, unknown = {"nique"};
  const std::vector<double> none, one = {1}, two = {2, 0}, negative = {1, -1}, zero = {0, 0}, gates = {-1, 0.01};
  const auto judges = make_judges(names, two, gates, context);
  REQUIRE(judges.size() == 2);
  CHECK(judges[0].weight == 2);
  CHECK(judges[1].gate == 0.01);
  CHECK(judges[1].score(at::rand({5, 3, 32, 32})).sizes() == at::IntArrayRef({5}));
  CHECK_THROWS_WITH_AS(make_judges(names, one, none, context), doctest::Contains("weights"), UserError);
  CHECK_THROWS_WITH_AS(make_judges(names, none, one, context), doctest::Contains("gates"), UserError);
  CHECK_THROWS_AS(make_judges(names, negative, none, context), UserError);
  CHECK_THROWS_AS(make_judges(names, zero, none, context), UserError);
  CHECK_THROWS_AS(make_judges(names, none, none, {}), UserError);
  CHECK_THROWS_AS(make_judges(twice, none, none, context), UserError);
  CHECK_THROWS_WITH_AS(make_judges(unknown, none, none, context), doctest::Contains("niqe"), UserError);
  CHECK_THROWS_AS(make_judges({}, none, none, context), UserError);
}
