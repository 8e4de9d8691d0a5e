// Winners that are put together region by region.
#include "resflow/search/regions.h"

#include <doctest/doctest.h>

#include <stop_token>

#include "resflow/core/error.h"
#include "search/toy.h"

using namespace resflow;
using namespace resflow::search;

namespace {

constexpr int64_t kSide = 32;

// Pictures of [1, 1, 32, 32], each pixel drawn by itself; judged by their distance from a pattern.
struct Field {
  explicit Field(uint64_t seed = 1) : sampler(flow::samplers().make("euler")) {
    problem.velocity = [this](const Tensor& z, double t) {
      calls += z.size(0);
      return toy::velocity_of(toy::gaussian(0, 1))(z, t);
    };
    problem.sigmas = flow::linear_sigmas(8);
    problem.sampler = sampler.get();
    problem.draw_noise = [seed](std::string_view purpose, uint64_t index) { return toy::normals(purpose, index, {1, 1, kSide, kSide}, seed); };
    problem.judges = {{.name = "near", .score = near}};
  }
  Field(const Field&) = delete;
  static Tensor near(const Tensor& images) {
    const Tensor pattern = toy::normals("pattern", 0, {1, 1, kSide, kSide});
    return (images - pattern).square().flatten(1).mean(1).neg();
  }

  std::unique_ptr<flow::Sampler> sampler;
  SearchProblem problem;
  int64_t calls = 0;
};

SearchOptions whole(int64_t candidates, int64_t regions) {
  SearchOptions o;
  o.strategy = "resflow";
  o.candidates = candidates;
  o.regions = regions;
  return o;
}

const TraceCandidate& winner(const SearchResult& result) { return result.trace.candidates[static_cast<size_t>(result.trace.winner)]; }

double best_whole(const SearchResult& result) {
  double best = -1e9;
  for (const auto& c : result.trace.candidates)
    if (c.kind == "final") best = std::max(best, c.scores[0]);
  return best;
}

}  // namespace

TEST_CASE("span weights sum to one, each span is whole in its middle, and none jumps") {
  for (const int64_t size : {16, 37, 100}) {
    const Tensor weights = span_weights(4, size);
    CHECK(at::allclose(weights.sum(0), at::ones({size}, at::kDouble)));
    CHECK(weights.min().item<double>() >= 0);
    CHECK((weights.narrow(1, 1, size - 1) - weights.narrow(1, 0, size - 1)).abs().max().item<double>() < 2.0 * 4 / static_cast<double>(size));
  }
  const Tensor weights = span_weights(2, 101);  // middles at 25.25 and 75.75
  CHECK(weights[0][25].item<double>() == doctest::Approx(1).epsilon(1e-3));
  CHECK(weights[1][75].item<double>() == doctest::Approx(1).epsilon(1e-3));
  CHECK(weights[0][50].item<double>() == doctest::Approx(0.5));
  CHECK(at::equal(span_weights(1, 7), at::ones({1, 7}, at::kDouble)));
}

TEST_CASE("a mixture of one picture is that picture, and each region comes from where it was chosen") {
  const Tensor images = at::cat({at::zeros({1, 2, 40, 60}), at::ones({1, 2, 40, 60}), at::full({1, 2, 40, 60}, 2)});
  CHECK(at::allclose(mixture(images, {2, 2, 2, 2}), images.narrow(0, 2, 1)));
  const Tensor mixed = mixture(images, {0, 1, 2, 0})[0][0];
  CHECK(mixed[9][14].item<double>() < 0.02);
  CHECK(mixed[9][45].item<double>() == doctest::Approx(1).epsilon(0.02));
  CHECK(mixed[30][14].item<double>() == doctest::Approx(2).epsilon(0.02));
  CHECK(mixed[30][45].item<double>() < 0.02);
  CHECK_THROWS(mixture(images, {0, 1, 2}));
}

TEST_CASE("what is brought into another's tones keeps its detail and loses its own") {
  const Tensor base = toy::normals("base", 0, {1, 3, 32, 48}), detail = toy::normals("detail", 0, {1, 3, 32, 48});
  const Tensor slope = at::linspace(-1, 1, 48, at::kDouble).expand({1, 3, 32, 48});
  const Tensor toned = in_tones_of(at::cat({base, detail + 0.7, base + slope}), 0, 4);
  CHECK(at::allclose(toned.narrow(0, 0, 1), base));
  CHECK(std::abs((toned[1] - base[0]).mean().item<double>()) < 0.02);             // the offset is gone
  CHECK(toy::correlation(toned[1] - base[0], detail[0] - base[0]) > 0.95);        // the detail is not
  CHECK((toned[2] - base[0]).slice(2, 6, 42).abs().max().item<double>() < 0.02);  // a slope is a tone
}

TEST_CASE("the regions of three samples hold a better picture than the best of them, for no further call") {
  double gain = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    Field field(seed);
    const auto result = search::search(field.problem, whole(3, 4));
    CHECK(field.calls == 3 * 8);
    CHECK(winner(result).kind == "mixed");
    CHECK(winner(result).parts.size() == 16);
    CHECK(winner(result).scores[0] == doctest::Approx(Field::near(result.x0).item<double>()));
    CHECK(winner(result).scores[0] > best_whole(result));
    std::set<int64_t> from(winner(result).parts.begin(), winner(result).parts.end());
    CHECK(from.size() == 3);
    for (const int64_t id : from) CHECK(result.trace.candidates[static_cast<size_t>(id)].finished);

    Field single(seed);
    const auto one = search::search(single.problem, whole(3, 1));
    auto control = whole(3, 4);
    control.strategy = "best-of-n";
    Field other(seed);
    CHECK(at::equal(one.x0, search::search(other.problem, control).x0));
    gain += (winner(result).scores[0] - best_whole(one)) / 8;
  }
  // Mean squares of 1024 pixels deviate by .06 from sample to sample: choosing among whole pictures gains that much, regions several times it.
  CHECK(gain > 0.2);
}

TEST_CASE("the same winner for any batch, and parts whose tones differ are mixed without them") {
  auto o = whole(4, 4);
  Field one, other;
  const Tensor all = search::search(one.problem, o).x0;
  o.batch = 1;
  CHECK(at::allclose(search::search(other.problem, o).x0, all, 1e-9, 1e-9));

  Field shifted;  // every sample in a brightness of its own
  shifted.problem.draw_noise = [](std::string_view purpose, uint64_t index) {
    return toy::normals(purpose, index, {1, 1, kSide, kSide}) + static_cast<double>(index) - 1;
  };
  const auto result = search::search(shifted.problem, o);
  const Tensor tones = at::avg_pool2d(result.x0, 8).flatten();  // 64 pixels: deviate by .125 at random
  CHECK((tones - tones.mean()).abs().max().item<double>() < 0.5);
}

TEST_CASE("a gate holds in every region, a judge that cannot tell of mixtures abstains or forbids them, and zero weights have no say") {
  Field field;
  const auto left = [](const Tensor& images) { return images.slice(3, 0, kSide / 2).flatten(1).mean(1); };
  field.problem.judges.push_back({.name = "left", .weight = 0, .score = left});
  const auto free = search::search(field.problem, whole(3, 4));
  field.problem.judges.back().gate = 0;
  const auto gated = search::search(field.problem, whole(3, 4));
  const auto parent = [](const SearchResult& r) { return r.trace.candidates[static_cast<size_t>(winner(r).parent)]; };
  REQUIRE(winner(free).kind == "mixed");
  CHECK(winner(free).scores[1] < parent(free).scores[1]);
  for (const auto& c : gated.trace.candidates)
    if (c.kind == "mixed") CHECK(c.scores[1] >= gated.trace.candidates[static_cast<size_t>(c.parent)].scores[1] - 1e-9);

  Field blind;  // of what it has not seen whole it says nothing
  blind.problem.judges.push_back({.name = "picky", .score = [](const Tensor& images) {
                                    static std::vector<double> known;
                                    Tensor out = images.flatten(1).sum(1);
                                    for (int64_t i = 0; i < out.size(0); ++i) {
                                      double& value = out.data_ptr<double>()[i];
                                      if (known.size() < 3) known.push_back(value);
                                      if (std::none_of(known.begin(), known.end(), [&](double k) { return std::abs(k - value) < 1e-6; }))
                                        value = std::nan("");
                                    }
                                    return out;
                                  }});
  CHECK(winner(search::search(blind.problem, whole(3, 4))).kind == "final");

  Field mute;
  mute.problem.judges.push_back(
      {.name = "mute", .score = [](const Tensor& images) { return at::full({images.size(0)}, std::nan(""), at::kDouble); }});
  CHECK(winner(search::search(mute.problem, whole(3, 4))).kind == "mixed");
}

TEST_CASE("a stop or the time limit ends the putting together, with what is there") {
  Field field;
  std::stop_source stop;
  field.problem.job.stop = stop.get_token();
  int judged = 0;
  field.problem.judges[0].score = [&](const Tensor& images) {
    if (++judged == 6) stop.request_stop();
    return Field::near(images);
  };
  const auto stopped = search::search(field.problem, whole(3, 4));
  CHECK(judged <= 7);
  CHECK(stopped.finished);

  Field late;
  double now = 0;
  int seen = 0;
  late.problem.clock = [&] { return now; };
  late.problem.judges[0].score = [&](const Tensor& images) {
    ++seen;
    now += 1;
    return Field::near(images);
  };
  auto o = whole(3, 4);
  o.time = 20;
  const auto timed = search::search(late.problem, o);
  CHECK(seen <= 21);
  CHECK(seen > 15);
  CHECK(timed.finished);
}
