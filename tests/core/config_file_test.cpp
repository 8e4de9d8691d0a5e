#include "resflow/core/config_file.h"

#include <doctest/doctest.h>

using namespace resflow;

namespace {

struct Shape {
  int64_t width = 8;
  bool bias = true;
  std::vector<int64_t> axes = {1, 2};

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("width", o.width, "Width", Range{1, 64});
    visit("bias", o.bias, "Whether there is a bias");
    visit("axes", o.axes, "Axes");
  }
};

Shape read(const char* text) {
  Shape out;
  config_from_json(out, Json::parse(text), "config.json");
  return out;
}

}  // namespace

TEST_CASE("a configuration's own keys are read; absent ones, nulls and what is not ours change nothing") {
  const Shape shape = read(R"({"_class_name": "Other", "width": 16, "bias": null, "axes": [3, 4, 5], "dropout": 0.1})");
  CHECK(shape.width == 16);
  CHECK(shape.bias);
  CHECK(shape.axes == std::vector<int64_t>{3, 4, 5});
  CHECK(read("{}").width == 8);
}

TEST_CASE("a configuration's wrong type or value is told, with its key") {
  CHECK_THROWS_WITH_AS(read(R"({"width": "16"})"), doctest::Contains("config.json.width"), UserError);
  CHECK_THROWS_WITH_AS(read(R"({"width": 65})"), doctest::Contains("width"), UserError);
  CHECK_THROWS_WITH_AS(read(R"({"axes": [3, 4.5]})"), doctest::Contains("axes"), UserError);
}
