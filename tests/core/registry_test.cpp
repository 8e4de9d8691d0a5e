#include "resflow/core/registry.h"

#include <doctest/doctest.h>

using namespace resflow;

namespace {
struct Shape {
  virtual ~Shape() = default;
  virtual int corners() const = 0;
};
struct Square : Shape {
  int corners() const override { return 4; }
};
struct Triangle : Shape {
  int corners() const override { return 3; }
};
const Registry<Shape> shapes("shape", {entry<Shape, Square>("square", "Four."), entry<Shape, Triangle>("triangle", "Three.")});
}  // namespace

TEST_CASE("a registry makes what its name says, in the order of its list") {
  CHECK(shapes.make("triangle")->corners() == 3);
  CHECK(shapes.make("square")->corners() == 4);
  CHECK(shapes.names() == std::vector<std::string>{"square", "triangle"});
}

TEST_CASE("a wrong name is the user's to mend: the names that exist, and the nearest") {
  CHECK_THROWS_WITH_AS(shapes.make("sqaure"), "unknown shape 'sqaure': wanted one of square, triangle. Did you mean 'square'?", UserError);
  CHECK_THROWS_WITH_AS(shapes.make("ellipse"), "unknown shape 'ellipse': wanted one of square, triangle", UserError);
  CHECK_THROWS_AS(shapes.make("Square"), UserError);
  CHECK_THROWS_AS(shapes.make(""), UserError);
}

TEST_CASE("the nearest name is the one that takes the fewest edits, and a far one is none") {
  CHECK(nearest_name("stpes", {"strength", "steps", "seed"}) == "steps");
  CHECK(nearest_name("sigma", {"sigma_s", "sigma_data"}) == "sigma_s");
  CHECK(nearest_name("upscale", {"tile", "seed"}).empty());
  CHECK(nearest_name("x", {}).empty());
}
