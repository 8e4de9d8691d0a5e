// Searches against theory.
#include <doctest/doctest.h>

#include "search/toy.h"

using namespace resflow;
using namespace resflow::search;

namespace {

// A standard normal of one number, judged by its value.
struct Line {
  explicit Line(int steps, uint64_t seed) : sampler(flow::samplers().make("euler")) {
    problem.velocity = toy::velocity_of(toy::gaussian(0, 1));
    problem.sigmas = flow::linear_sigmas(steps);
    problem.sampler = sampler.get();
    problem.draw_noise = [seed](std::string_view purpose, uint64_t index) { return toy::normals(purpose, index, {1, 1}, seed); };
    problem.judges = {{.name = "value", .score = [](const Tensor& x0) { return x0.flatten(); }}};
  }
  std::unique_ptr<flow::Sampler> sampler;
  SearchProblem problem;
};

}  // namespace

TEST_CASE("best-of-n's expected reward is the expected maximum of N normals") {
  SearchOptions o;
  o.strategy = "best-of-n";
  o.candidates = 8;
  double mean = 0;
  const int runs = 600;
  for (int i = 0; i < runs; ++i) mean += search::search(Line(20, static_cast<uint64_t>(i)).problem, o).x0.item<double>() / runs;
  CHECK(mean == doctest::Approx(1.4236).epsilon(0.06));  // of 8 standard normals; Euler's 20 steps lose a little variance
}

TEST_CASE("smc's weighted particles follow the tilted law, for every potential, with and without resampling") {
  // Of N(0, 1) tilted by exp(a x): mean a, variance 1.
  SearchOptions o;
  o.strategy = "smc";
  o.candidates = 2000;
  o.rounds = 4;
  o.fusion = "sum";
  o.diffusion = 1.5;
  for (const std::string potential : {"diff", "max", "add", "rt"})
    for (const double below : {0.0, 0.5, 1.0}) {
      if (potential != "diff" && below != 0.5) continue;
      CAPTURE(potential);
      CAPTURE(below);
      o.potential = potential;
      o.temperature = potential == "add" ? 0.3 : 0.8;  // four summed rewards tilt four times as far on the way
      o.resample_below = below;
      const auto result = search::search(Line(40, 3).problem, o);
      double total = 0, mean = 0, square = 0;
      for (const auto& c : result.candidates) {
        const double x = c.z.item<double>();
        total += c.weight;
        mean += c.weight * x;
        square += c.weight * x * x;
      }
      CHECK(total == doctest::Approx(1));
      CHECK(std::abs(mean - o.temperature) < 0.12);
      CHECK(square - mean * mean == doctest::Approx(1).epsilon(0.2));
    }
}

TEST_CASE("rollover passes on what a step did not need, and takes the first child that improves") {
  Line line(10, 4);
  SearchOptions o;
  o.strategy = "rollover";
  o.candidates = 4;
  const auto trace = search::search(line.problem, o).trace;
  double best = -1e9;
  for (const auto& c : trace.candidates)
    if (c.round == 0) best = std::max(best, c.scores[0]);
  std::map<int64_t, std::vector<const TraceCandidate*>> rounds;
  for (const auto& c : trace.candidates)
    if (c.kind == "perturbed") rounds[c.round].push_back(&c);
  REQUIRE(rounds.size() == 9);
  double rolled = 0;
  for (const auto& [round, tried] : rounds) {
    CAPTURE(round);
    const double allowed = 4 + rolled;
    CHECK(static_cast<double>(tried.size()) <= allowed);
    for (size_t i = 0; i + 1 < tried.size(); ++i) CHECK(tried[i]->scores[0] <= best);
    const bool improved = tried.back()->scores[0] > best;
    if (!improved) CHECK(static_cast<double>(tried.size()) == allowed);
    rolled = improved ? allowed - static_cast<double>(tried.size()) : 0;
    best = std::max(best, tried.back()->scores[0]);
  }
}

TEST_CASE("zero-order's neighbours keep the pivot's length and turn by the asked angle") {
  toy::Picture picture;
  SearchOptions o;
  o.strategy = "zero-order";
  o.candidates = 4;
  o.rounds = 1;
  o.rho = 0.3;
  const Tensor pivot = picture.problem.draw_noise("start", 0);
  for (const auto& c : search::search(picture.problem, o).candidates) {
    CHECK(c.noise.norm().item<double>() == doctest::Approx(pivot.norm().item<double>()));
    if (c.rho > 0) CHECK((c.noise * pivot).sum().item<double>() == doctest::Approx(std::sqrt(1 - 0.09) * pivot.square().sum().item<double>()));
  }
}

TEST_CASE("paths' children start again at a higher level and compete below") {
  toy::Picture picture(20);
  SearchOptions o;
  o.strategy = "paths";
  o.candidates = 4;
  o.rounds = 2;
  const auto trace = search::search(picture.problem, o).trace;
  for (const auto& c : trace.candidates)
    if (c.kind == "path") CHECK(c.sigma <= 0.1 + 1e-9);
  CHECK(std::count_if(trace.candidates.begin(), trace.candidates.end(), [](const auto& c) { return c.kind == "path"; }) ==
        4);  // two kept, two new, twice
}
