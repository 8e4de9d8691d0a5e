// Laws that every registered strategy obeys, on a toy flow with exact velocities.
#include "resflow/search/strategy.h"

#include <doctest/doctest.h>

#include <stop_token>

#include "resflow/core/error.h"
#include "search/toy.h"

using namespace resflow;
using namespace resflow::search;

namespace {

SearchOptions options_for(const std::string& strategy) {
  SearchOptions o;
  o.strategy = strategy;
  o.candidates = 6;
  o.survivors = 2;
  o.rounds = 3;
  o.lookahead = 2;
  o.path_start = 0.3;  // the toy takes 8 steps
  o.path_forward = 0.4;
  o.path_backward = 0.5;
  return o;
}

bool searches(const std::string& strategy) { return strategy != "none"; }

Json reproducible(const Trace& trace) {
  Json out = trace.to_json();
  out.erase("seconds");
  return out;
}

double reward(const Tensor& x0) { return toy::Picture::score(x0).item<double>(); }

}  // namespace

TEST_CASE("no strategy ever spends more than its budget, and each ends with a finished result from one call on") {
  for (const auto& e : strategies().entries())
    for (const double budget : {0.5, 1.0, 3.0, 7.0, 8.0, 9.0, 16.0, 23.0, 40.0, 77.0, 150.0}) {
      CAPTURE(e.name);
      CAPTURE(budget);
      toy::Picture picture;
      auto o = options_for(e.name);
      o.budget = budget;
      const auto result = search::search(picture.problem, o);
      CHECK(picture.calls <= budget);
      CHECK(result.trace.nfe == picture.calls);
      CHECK(result.x0.isfinite().all().item<bool>());
      CHECK(result.finished == (budget >= 1));
    }
}

TEST_CASE("a tile's calls cost their share of the budget") {
  for (const auto& e : strategies().entries()) {
    toy::Picture picture;
    picture.problem.cost_per_sample = 0.3;
    auto o = options_for(e.name);
    o.budget = 9;
    const auto result = search::search(picture.problem, o);
    CHECK(0.3 * static_cast<double>(picture.calls) <= 9 + 1e-9);
    CHECK(result.trace.nfe == doctest::Approx(0.3 * static_cast<double>(picture.calls)));
    CHECK(result.trace.plain_nfe == doctest::Approx(2.4));
  }
}

TEST_CASE("one candidate is plain sampling, bit for bit, with every sampler, strategy and start") {
  const Coordinates shifted{.center = at::full({1, 3, 2, 2}, 0.2, at::kDouble), .sigma_s = 0.4};
  for (const auto& sampler : flow::samplers().names())
    for (const auto& at : {Coordinates{}, shifted})
      for (const auto& e : strategies().entries()) {
        CAPTURE(e.name);
        toy::Picture picture(8, 1, at);
        picture.sampler = flow::samplers().make(sampler);
        picture.problem.sampler = picture.sampler.get();
        auto o = options_for(e.name);
        if (searches(e.name)) o.candidates = 1;
        const auto result = search::search(picture.problem, o);
        CHECK(at::equal(result.x0, picture.plain()));
        CHECK(result.trace.nfe == result.trace.plain_nfe);
      }
}

TEST_CASE("the winner is the best of all that were finished, and its path leads to a start") {
  for (const auto& e : strategies().entries()) {
    CAPTURE(e.name);
    toy::Picture picture;
    const auto result = search::search(picture.problem, options_for(e.name));
    REQUIRE(!result.candidates.empty());
    for (const auto& c : result.candidates) {
      CHECK(reward(result.x0) >= c.scores[0]);
      CHECK(reward(c.z) == c.scores[0]);
      CHECK(result.trace.candidates[static_cast<size_t>(c.id)].finished);
    }
    const auto& path = result.trace.path;
    CHECK(path.back() == result.trace.winner);
    CHECK(result.trace.candidates[static_cast<size_t>(path.front())].parent == -1);
    CHECK(result.trace.ended == "done");
  }
}

TEST_CASE("a search that a limit cut short says which") {
  for (const auto& e : strategies().entries()) {
    if (e.name == "none" || e.name == "rollover") continue;  // rollover's quota is drawn from what the limits leave: its plan fits them
    CAPTURE(e.name);
    toy::Picture picture;
    picture.problem.clock = [&] { return static_cast<double>(picture.calls); };  // a call a second
    auto o = options_for(e.name);
    const double whole = search::search(picture.problem, o).trace.nfe;
    const auto ended = [&](double budget, double time) {
      o.budget = budget;
      o.time = time;
      picture.calls = 0;
      return search::search(picture.problem, o).trace.ended;
    };
    CHECK(ended(0.6 * whole, 0) == "budget");
    CHECK(ended(0, 0.6 * whole) == "time");
    CHECK(ended(10 * whole, 100 * whole) == "done");
  }
}

TEST_CASE("the same seed gives the same trace and result for any batch size; another seed another") {
  for (const auto& e : strategies().entries()) {
    CAPTURE(e.name);
    const auto run = [&](int64_t batch, uint64_t seed) {
      toy::Picture picture(8, seed);
      auto o = options_for(e.name);
      o.batch = batch;
      auto result = search::search(picture.problem, o);
      result.trace.options.erase("candidate_batch");
      return result;
    };
    const auto whole = run(0, 1), again = run(0, 1), two = run(2, 1), other = run(0, 2);
    CHECK(reproducible(whole.trace) == reproducible(again.trace));
    CHECK(at::equal(whole.x0, again.x0));
    CHECK(!at::equal(whole.x0, other.x0));
    if (e.name == "best-of-n") continue;  // it finishes batch by batch, so its order of judging is the batches'
    CHECK(reproducible(whole.trace) == reproducible(two.trace));
    CHECK(at::equal(whole.x0, two.x0));
  }
}

TEST_CASE("best-of-n chooses the same whatever the batch") {
  toy::Picture picture;
  auto o = options_for("best-of-n");
  const auto whole = search::search(picture.problem, o);
  o.batch = 4;
  CHECK(at::equal(search::search(picture.problem, o).x0, whole.x0));
}

TEST_CASE("a stop at any call ends the search with the best so far") {
  for (const auto& e : strategies().entries())
    for (const int64_t after : {0, 1, 5, 20}) {
      CAPTURE(e.name);
      CAPTURE(after);
      toy::Picture picture;
      std::stop_source stop;
      picture.problem.job.stop = stop.get_token();
      picture.problem.velocity = [&](const Tensor& z, double t) {
        picture.calls += z.size(0);
        if (picture.calls >= after) stop.request_stop();
        return picture.exact(z, t);
      };
      if (after == 0) stop.request_stop();
      auto o = options_for(e.name);
      o.batch = 1;
      const auto result = search::search(picture.problem, o);
      CHECK(result.x0.sizes() == at::IntArrayRef({1, 3, 2, 2}));
      CHECK(picture.calls <= std::max<int64_t>(after, 0));
      if (picture.calls == after) CHECK((result.trace.ended == "stopped" || result.finished));
      if (after == 0) CHECK(result.x0.abs().max().item<double>() == 0);  // the coordinates' centre
    }
}

TEST_CASE("a deadline keeps what finishing takes, and what it cannot foresee it ends") {
  for (const auto& e : strategies().entries()) {
    CAPTURE(e.name);
    toy::Picture picture;
    picture.problem.clock = [&] { return static_cast<double>(picture.calls); };  // a call a second
    auto o = options_for(e.name);
    o.time = 30;
    const auto result = search::search(picture.problem, o);
    CHECK(picture.calls <= 30 + 6);  // a call that has begun is not torn off; it may hold all candidates
    CHECK(result.x0.isfinite().all().item<bool>());
    o.time = 3;
    picture.calls = 0;
    const auto hurried = search::search(picture.problem, o);
    CHECK(hurried.trace.ended == "time");
    CHECK(picture.calls <= 3 + 6);
  }
}

TEST_CASE("every search finds a better mean reward than plain sampling at equal seeds") {
  const int seeds = 12;
  double plain = 0;
  std::map<std::string, double> mean;
  for (int seed = 1; seed <= seeds; ++seed)
    for (const auto& e : strategies().entries()) {
      toy::Picture picture(8, static_cast<uint64_t>(seed));
      const double value = reward(search::search(picture.problem, options_for(e.name)).x0) / seeds;
      mean[e.name] += value;
      if (!searches(e.name)) plain += value;
    }
  for (const auto& [name, value] : mean) {
    CAPTURE(name);
    if (searches(name)) CHECK(value > plain + 0.1);
  }
}

TEST_CASE("children differ from their parents and from each other") {
  for (const std::string name : {"greedy", "resflow", "rollover", "paths", "zero-order", "smc"}) {
    CAPTURE(name);
    toy::Picture picture;
    const auto trace = search::search(picture.problem, options_for(name)).trace;
    std::vector<double> seen;
    for (const auto& c : trace.candidates)
      if (c.kind == "path" || c.kind == "perturbed" || (c.kind == "particle" && c.round == 1) || (name == "zero-order" && c.finished))
        seen.push_back(c.scores[0]);
    REQUIRE(seen.size() >= 3);
    std::sort(seen.begin(), seen.end());
    CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
  }
}

TEST_CASE("N that M does not divide, more rounds than steps and fewer steps than rounds all run; M above N is refused") {
  for (const auto& e : strategies().entries()) {
    CAPTURE(e.name);
    for (const int steps : {1, 2, 3}) {
      toy::Picture picture(steps);
      auto o = options_for(e.name);
      o.candidates = 5;
      o.survivors = 3;
      o.rounds = 40;
      CHECK(search::search(picture.problem, o).finished);
      o.survivors = 9;
      if (e.name != "none") CHECK_THROWS_WITH_AS(search::search(picture.problem, o), doctest::Contains("more survivors than candidates"), UserError);
      o.candidates = 1;  // plain sampling: nobody has to survive
      CHECK(search::search(picture.problem, o).finished);
    }
  }
}

TEST_CASE("scores that are not numbers and rewards that throw on one image rank it last; a reward that fails on all abstains") {
  for (const auto& e : strategies().entries()) {
    CAPTURE(e.name);
    toy::Picture picture;
    picture.problem.judges[0].score = [](const Tensor& images) {
      Tensor scores = toy::Picture::score(images);
      if (images.size(0) > 1) scores[0] = std::nan("");
      return scores;
    };
    picture.problem.judges.push_back({.name = "picky", .score = [](const Tensor& images) -> Tensor {
                                        if (images.mean().item<double>() > 0.1) throw UserError("too bright");
                                        return at::zeros({images.size(0)}, at::kDouble);
                                      }});
    picture.problem.judges.push_back(
        {.name = "mute", .score = [](const Tensor& images) { return at::full({images.size(0)}, std::nan(""), at::kDouble); }});
    const auto result = search::search(picture.problem, options_for(e.name));
    CHECK(result.finished);
    CHECK(!result.trace.notes.empty());
    CHECK(result.trace.to_json().dump().find("\"mute\":null") != std::string::npos);
  }
}

TEST_CASE("a gate keeps what falls behind its parent from winning") {
  // The first judge rewards leaving the pattern, the gated one measures closeness.
  const auto closeness = [](double gate) {
    double sum = 0;
    for (uint64_t seed = 1; seed <= 6; ++seed) {
      toy::Picture picture(8, seed);
      picture.problem.judges = {
          {.name = "greed", .score = [](const Tensor& images) { return images.abs().flatten(1).mean(1); }},
          {.name = "closeness", .weight = 0, .gate = gate, .score = [](const Tensor& images) { return toy::Picture::score(images); }}};
      auto o = options_for("greedy");
      o.last_expansion = false;
      sum += reward(search::search(picture.problem, o).x0);
    }
    return sum;
  };
  CHECK(closeness(0) > closeness(-1) + 0.5);
}

TEST_CASE("contradictions and unknown names are the user's to mend") {
  toy::Picture picture;
  auto o = options_for("greedy");
  o.round_low = 0.9;
  CHECK_THROWS_WITH_AS(search::search(picture.problem, o), doctest::Contains("round_low"), UserError);
  o = options_for("gredy");
  CHECK_THROWS_AS(search::search(picture.problem, o), UserError);
  o = options_for("paths");
  o.path_backward = 0.3;
  CHECK_THROWS_WITH_AS(search::search(picture.problem, o), doctest::Contains("path_backward"), UserError);
  o = options_for("greedy");
  picture.problem.judges.clear();
  CHECK_THROWS_WITH_AS(search::search(picture.problem, o), doctest::Contains("reward"), UserError);
  o.strategy = "none";
  CHECK(at::equal(search::search(picture.problem, o).x0, picture.plain()));
}
