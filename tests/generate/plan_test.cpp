#include "resflow/generate/plan.h"

#include <doctest/doctest.h>

#include "resflow/core/error.h"
#include "resflow/generate/conditions.h"
#include "resflow/generate/picture_file.h"

using namespace resflow;
using namespace resflow::generate;

namespace {

const flow::FlowMatchEuler kDev{.use_dynamic_shifting = true};

Plan plan(const GenerateOptions& options, const Sources& sources = {}) {
  return make_plan(options, sources, {.multiple = 16, .guidance = true}, kDev);
}

bool is(Size size, int64_t width, int64_t height) { return size.width == width && size.height == height; }

}  // namespace

TEST_CASE("a size that is left open is 1024, or follows what is given") {
  CHECK(is(plan({}).size, 1024, 1024));
  CHECK(is(plan({.width = 512}).size, 512, 1024));
  const Sources photo{.image = {.width = 1000, .height = 750}};
  CHECK(is(plan({}, photo).size, 992, 736));
  CHECK(is(plan({.width = 512}, photo).size, 512, 384));
  CHECK(is(plan({.height = 384}, photo).size, 512, 384));
  CHECK(is(plan({.width = 64, .height = 512}, photo).size, 64, 512));
  CHECK(is(plan({}, {.image = {.width = 9, .height = 9}}).size, 16, 16));
  CHECK(is(plan({}, {.reference = {.width = 300, .height = 200}}).size, 1248, 832));
}

TEST_CASE("a reference is brought to a size that Kontext knows, or left at its own") {
  const Sources shown{.reference = {.width = 300, .height = 200}};
  CHECK(is(plan({}, shown).reference, 1248, 832));
  CHECK(is(plan({.reference_resize = false}, shown).reference, 288, 192));
  CHECK(is(kontext_size({.width = 1, .height = 100}), 672, 1568));
  CHECK(is(kontext_size({.width = 777, .height = 777}), 1024, 1024));
}

TEST_CASE("steps follow the model, tokens the size, and the levels both") {
  CHECK(plan({}).steps == 28);
  CHECK(make_plan({}, {}, {.multiple = 16, .guidance = false}, kDev).steps == 4);
  const auto found = plan({.width = 512, .height = 256, .steps = 3});
  CHECK(found.tokens == 32 * 16);
  CHECK(found.sigmas == kDev.sigmas(3, 32 * 16));
}

TEST_CASE("strength leaves out the first levels, rounded towards more steps") {
  const Sources photo{.image = {.width = 64, .height = 64}};
  const auto all = plan({.steps = 10, .strength = 1}, photo).sigmas;
  CHECK(all.size() == 11);
  const auto steps = [&](double strength) { return plan({.steps = 10, .strength = strength}, photo).sigmas.size() - 1; };
  CHECK(steps(0.6) == 6);
  CHECK(steps(0.61) == 7);
  CHECK(steps(0.1) == 1);
  CHECK(steps(0.01) == 1);
  CHECK(plan({.steps = 10, .strength = 0.3}, photo).sigmas.front() == all[7]);
  CHECK_THROWS_WITH_AS(steps(0), doctest::Contains("the strength leaves no step"), UserError);
  CHECK(plan({.steps = 10, .strength = 0}).sigmas.size() == 11);  // without an image it means nothing
}

TEST_CASE("a control image gives the result its size, enlarged where that is asked for") {
  const ModelFacts facts{.control_net = true};
  const Sources shown{.control = {.width = 100, .height = 75}};
  CHECK(is(make_plan({}, shown, facts, kDev).size, 96, 64));
  CHECK(is(make_plan({.control_enlarge = 4}, shown, facts, kDev).size, 400, 288));
  CHECK(is(make_plan({.width = 800, .control_enlarge = 4}, shown, facts, kDev).size, 800, 608));
  CHECK(is(make_plan({.control_enlarge = 4}, {.image = {.width = 64, .height = 48}, .control = shown.control}, facts, kDev).size, 64, 48));
}

TEST_CASE("the strength is img2img's, or Fill's, where none is given") {
  const Sources photo{.image = {.width = 64, .height = 64}, .mask = {.width = 64, .height = 64}};
  CHECK(plan({}, {.image = photo.image}).strength == 0.6);
  CHECK(make_plan({}, photo, {.beside = Beside::fill}, kDev).strength == 1);
  CHECK(make_plan({.strength = 0.3}, photo, {.beside = Beside::fill}, kDev).strength == 0.3);
}

TEST_CASE("pictures that a model is not shown, and those that it lacks, are told") {
  const Size any{.width = 64, .height = 64};
  const auto told = [](const GenerateOptions& options, const Sources& sources, const ModelFacts& facts, const char* what) {
    CHECK_THROWS_WITH_AS(make_plan(options, sources, facts, kDev), doctest::Contains(what), UserError);
  };
  told({}, {.control = any}, {}, "nothing that takes one");
  told({}, {}, {.control_net = true}, "no control image");
  told({}, {}, {.beside = Beside::control}, "no control image");
  told({}, {.image = any, .mask = any}, {}, "a model that takes none");
  told({}, {.image = any}, {.beside = Beside::fill}, "--image and --mask");
  told({}, {.mask = any}, {.beside = Beside::fill}, "--image and --mask");
  told({}, {.reference = any, .control = any}, {.control_net = true}, "a reference together with a control image");
  told({.control_start = 0.5, .control_end = 0.5}, {.control = any}, {.control_net = true}, "acts at no step");
  told({}, {.control = any}, {.control_net = true, .control_modes = 7}, "--control-mode 0 to 6");
  told({.control_mode = 7}, {.control = any}, {.control_net = true, .control_modes = 7}, "--control-mode 0 to 6");
  told({.control_mode = 0}, {.control = any}, {.control_net = true}, "no --control-mode");
  CHECK_NOTHROW(make_plan({.control_mode = 6}, {.control = any}, {.control_net = true, .control_modes = 7}, kDev));
}

TEST_CASE("a ControlNet acts at the steps that lie within its share") {
  const std::vector<double> sigmas = {1, 0.8, 0.5, 0.2, 0};
  const auto acting = [&](double start, double end) {
    std::string out;
    for (size_t i = 0; i + 1 < sigmas.size(); ++i) out += control_acts(sigmas, sigmas[i], start, end) ? 'x' : '.';
    return out;
  };
  CHECK(acting(0, 1) == "xxxx");
  CHECK(acting(0.25, 0.75) == ".xx.");
  CHECK(acting(0.26, 0.74) == "....");
  CHECK(acting(0.1, 1) == ".xxx");
  CHECK(acting(0, 0.5) == "xx..");
  CHECK(control_acts(sigmas, 0, 0.75, 1));  // what a sampler of second order asks for at the end
}

TEST_CASE("sizes that the model cannot make are told with the nearest") {
  CHECK_THROWS_WITH_AS(plan({.width = 1000, .height = 1000}), doctest::Contains("--width 1008 --height 1008"), UserError);
  CHECK_THROWS_WITH_AS(plan({.width = 7, .height = 32}), doctest::Contains("--width 16 --height 32"), UserError);
  CHECK_THROWS_WITH_AS(plan({.width = 16384, .height = 16384}), doctest::Contains("too large"), UserError);
  CHECK_THROWS_AS(plan({.width = -16}), UserError);
  CHECK_THROWS_WITH_AS(plan({}, {.image = {.width = 64, .height = 64}, .reference = {.width = 64, .height = 64}}),
                       doctest::Contains("one or the other"), UserError);
}

TEST_CASE("several pictures are numbered; one is named as asked") {
  CHECK(plan_files("a/b.png", 1) == std::vector<std::filesystem::path>{"a/b.png"});
  CHECK(plan_files("a/b.c.jpg", 2) == std::vector<std::filesystem::path>{"a/b.c-1.jpg", "a/b.c-2.jpg"});
  CHECK_THROWS_WITH_AS(plan_files("a/", 1), doctest::Contains("a folder"), UserError);
  CHECK_THROWS_WITH_AS(plan_files("a.xyz", 1), doctest::Contains("extension"), UserError);
}
