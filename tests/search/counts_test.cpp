// What each strategy costs, to the call, and what its parts save.
#include <doctest/doctest.h>

#include "search/toy.h"

using namespace resflow;
using namespace resflow::search;

namespace {

int64_t cost(int steps, const SearchOptions& o) {
  toy::Picture picture(steps);
  const auto result = search::search(picture.problem, o);
  CHECK(result.trace.nfe == picture.calls);
  return picture.calls;
}

SearchOptions greedy(int64_t n, int64_t m, int64_t k, int64_t s) {
  SearchOptions o;
  o.strategy = "greedy";
  o.candidates = n;
  o.survivors = m;
  o.rounds = k;
  o.lookahead = s;
  o.last_expansion = false;
  return o;
}

}  // namespace

TEST_CASE("greedy costs N(S+1) + K N(S+1) + T M - (K+1) M: each accepted velocity is the next step's, the first round's too") {
  struct Row {
    int64_t t, m, k, n, s, published;  // published: with K M saved instead of (K + 1) M
  };
  for (const auto& r :
       {Row{8, 1, 2, 4, 1, 30}, Row{8, 2, 2, 4, 2, 48}, Row{20, 2, 4, 4, 3, 112}, Row{20, 2, 8, 8, 3, 312}, Row{30, 2, 12, 8, 3, 452}}) {
    const int64_t formula = r.n * (r.s + 1) + r.k * r.n * (r.s + 1) + r.t * r.m - (r.k + 1) * r.m;
    CHECK(formula == r.published - r.m);
    auto o = greedy(r.n, r.m, r.k, r.s);
    CHECK(cost(static_cast<int>(r.t), o) == formula);  // preserve: the parent's call is its own first one
    o.perturbation = "zero-drift";
    o.elitism = false;
    CHECK(cost(static_cast<int>(r.t), o) == formula);
    o.perturbation = "preserve";
    CHECK(cost(static_cast<int>(r.t), o) == formula + r.k * r.m);
  }
}

TEST_CASE("greedy's last expansion finishes all N from the last chosen step instead of looking ahead") {
  auto o = greedy(4, 2, 2, 2);
  o.last_expansion = true;
  // Rounds at sigma .75 and .5 of 8 steps: i = 2 and 4. 4*3 start, two steps less one known call each, 4*3, two more steps, 4 * 4 to the end.
  CHECK(cost(8, o) == 12 + (2 * 2 - 2) + 12 + (2 * 2 - 2) + 16);
}

TEST_CASE("the other strategies cost what their heads say") {
  auto o = greedy(4, 2, 2, 2);
  o.strategy = "best-of-n";
  CHECK(cost(8, o) == 4 * 8);
  o.strategy = "zero-order";
  CHECK(cost(8, o) == 8 + 2 * 3 * 8);
  o.strategy = "smc";
  CHECK(cost(8, o) == 4 * 8);
  o.strategy = "rollover";
  CHECK(cost(8, o) <= 4 + 4 * 7);
  CHECK(cost(8, o) >= 4 + 7);
  o.strategy = "none";
  CHECK(cost(8, o) == 8);
}

TEST_CASE("each saving of resflow saves, and costs nothing when it is off") {
  auto o = greedy(8, 2, 4, 3);
  o.strategy = "resflow";
  o.share_velocity = o.early_rejection = o.adaptive_rho = o.stop_early = o.finish_lookahead = false;
  const int64_t without = cost(20, o);
  // Of greedy's cost, plus a repeated call for each of the six children of a round.
  CHECK(without == 8 * 4 + 4 * 8 * 4 + 20 * 2 - 5 * 2 + 4 * 6);
  for (bool SearchOptions::*part : {&SearchOptions::share_velocity, &SearchOptions::early_rejection, &SearchOptions::finish_lookahead}) {
    auto with = o;
    with.*part = true;
    if (part == &SearchOptions::finish_lookahead) {  // needs a round close to the end
      with.round_low = 0.05;
      with.round_high = 0.3;
      auto off = with;
      off.finish_lookahead = false;
      CHECK(cost(20, with) < cost(20, off));
    } else {
      CHECK(cost(20, with) < without);
    }
  }
}

TEST_CASE("resflow stops its rounds once the parents have won twice") {
  auto o = greedy(4, 1, 10, 2);
  o.strategy = "resflow";
  o.finish_lookahead = false;
  toy::Picture picture(20);
  picture.problem.judges[0].score = [](const Tensor& images) { return at::zeros({images.size(0)}, at::kDouble); };  // ties go to the parent
  CHECK(search::search(picture.problem, o).trace.rounds.size() == 3);                                               // the start, and two in vain
  o.stop_early = false;
  CHECK(search::search(picture.problem, o).trace.rounds.size() == 11);
}

TEST_CASE("rho halves after a round without success and grows after one where all parents are beaten") {
  auto o = greedy(4, 1, 3, 0);
  o.strategy = "resflow";
  o.early_rejection = o.stop_early = false;
  const auto rhos = [&](auto score) {
    toy::Picture picture(20);
    picture.problem.judges[0].score = score;
    std::vector<double> out;
    for (const auto& round : search::search(picture.problem, o).trace.rounds)
      if (round.round > 0) out.push_back(round.rho);
    return out;
  };
  const auto vain = rhos([](const Tensor& images) { return at::zeros({images.size(0)}, at::kDouble); });
  REQUIRE(vain.size() == 3);
  CHECK(vain[0] == doctest::Approx(0.3));
  CHECK(vain[1] == doctest::Approx(0.15));
  CHECK(vain[2] == doctest::Approx(0.075));
  const auto fruitful = rhos([](const Tensor& images) { return at::arange(images.size(0), at::kDouble); });  // the parent is the first
  CHECK(fruitful[2] == doctest::Approx(0.3 * 1.69));
}

TEST_CASE("with elitism the best estimated score never falls within a round") {
  for (const std::string name : {"greedy", "resflow"})
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      auto o = greedy(6, 2, 4, 2);
      o.strategy = name;
      toy::Picture picture(20, seed);
      const auto trace = search::search(picture.problem, o).trace;
      for (const auto& c : trace.candidates) {
        if (c.kind != "kept" || c.chosen) continue;
        for (const auto& other : trace.candidates)
          if (other.chosen && other.round == c.round && other.kind != "final") CHECK(other.scores[0] >= c.scores[0]);
      }
    }
}
