#include "resflow/core/fields.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace resflow;

namespace {

struct Search {
  double rho = 0.5;
  std::vector<std::string> rewards = {"niqe"};

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("rho", o.rho, "Strength", Range{0, 1});
    visit("rewards", o.rewards, "Who judges", OneOf{{"niqe", "clipiqa"}});
  }
};

struct Options {
  bool fast = false;
  int steps = 4;
  int64_t seed = 0;
  double strength = 1;
  std::string sampler = "euler";
  std::vector<double> levels = {0.1, 0.2};
  Search search;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("fast", o.fast, "Hurry", Any{});
    visit("steps", o.steps, "Number of steps", Range{1, 200});
    visit("seed", o.seed, "Seed of the noise", Any{});
    visit("strength", o.strength, "How much", Range{0, 1});
    visit("sampler", o.sampler, "ODE solver", OneOf{{"euler", "heun"}});
    visit("levels", o.levels, "Levels", Any{});
    visit("search", o.search, "Search");
  }
};

Options read(const char* json) {
  Options options;
  fields_from_json(options, Json::parse(json));
  return options;
}

// What the user is told of it, "" where it is accepted.
std::string complaint(const char* json) {
  try {
    read(json);
    return "";
  } catch (const UserError& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("options written to JSON and read back are the same, whatever their types") {
  Options options{.fast = true,
                  .steps = 9,
                  .seed = -(int64_t{1} << 60),
                  .strength = 0.1,
                  .sampler = "heun",
                  .levels = {1e-9, 3},
                  .search = {.rho = 0.25, .rewards = {}}};
  const Json json = fields_to_json(options);
  Options back;
  fields_from_json(back, Json::parse(json.dump()));
  CHECK(fields_to_json(back) == json);
  CHECK(back.seed == options.seed);
  CHECK(back.search.rewards.empty());
  CHECK(json.begin().key() == "fast");  // the order of the list, which the manifest shows
}

TEST_CASE("absent keys keep their defaults, also inside a nested table") {
  const Options options = read(R"({"steps": 7, "search": {"rho": 0.75}})");
  CHECK(options.steps == 7);
  CHECK(options.sampler == "euler");
  CHECK(options.search.rho == 0.75);
  CHECK(options.search.rewards == std::vector<std::string>{"niqe"});
}

TEST_CASE("an unknown key is refused with the nearest name and the table it stands in") {
  CHECK(complaint(R"({"setps": 7})") ==
        "unknown option in options 'setps': wanted one of fast, steps, seed, strength, sampler, levels, search. Did you mean 'steps'?");
  CHECK(complaint(R"({"search": {"roh": 7}})") == "unknown option in options.search 'roh': wanted one of rho, rewards. Did you mean 'rho'?");
  CHECK(complaint(R"({"qqqqqqqq": 7})").find("Did you mean") == std::string::npos);
}

TEST_CASE("a value out of its range is refused with the range, its ends belong to it, and NaN does not") {
  CHECK(complaint(R"({"steps": 201})") == "steps is out of range: wanted a number in [1, 200], got 201");
  CHECK(complaint(R"({"steps": 0})") != "");
  CHECK(complaint(R"({"steps": 200, "strength": 0})") == "");
  CHECK(complaint(R"({"search": {"rho": 1.01}})").find("rho is out of range") == 0);
  Options options;
  options.strength = std::nan("");
  CHECK_THROWS_AS(check_fields(options), UserError);
}

TEST_CASE("a name outside its list is refused, alone and inside a list of names") {
  CHECK(complaint(R"({"sampler": "eulr"})") == "unknown sampler 'eulr': wanted one of euler, heun. Did you mean 'euler'?");
  CHECK(complaint(R"({"search": {"rewards": ["niqe", "clipiqua"]}})").find("Did you mean 'clipiqa'?") != std::string::npos);
}

TEST_CASE("a value of the wrong type is refused where it stands, and never rounded or wrapped to fit") {
  for (const std::string json : {R"({"steps": "4"})", R"({"steps": 2.5})", R"({"steps": true})", R"({"steps": 4294967298})",
                                 R"({"seed": 18446744073709551615})", R"({"fast": 1})", R"({"strength": true})", R"({"strength": "1"})",
                                 R"({"sampler": 3})", R"({"levels": 0.5})", R"({"levels": [0.5, "a"]})", R"({"search": {"rewards": "niqe"}})"}) {
    CAPTURE(json);
    CHECK(complaint(json.c_str()).find("wrong type") != std::string::npos);
  }
  CHECK(complaint(R"({"steps": "4"})") == "[options.steps] wrong type: wanted a whole number, got \"4\"");
  CHECK(complaint(R"({"search": 3})").find("[options.search] not a table") == 0);
  CHECK(complaint("[1]").find("not a table") != std::string::npos);
  CHECK(read(R"({"strength": 1, "levels": [1, 2]})").levels == std::vector<double>{1, 2});  // a whole number is a number
}
