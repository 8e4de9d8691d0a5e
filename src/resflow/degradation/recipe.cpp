#include "resflow/degradation/recipe.h"

#include <fmt/format.h>

#include "resflow/core/registry.h"

namespace resflow::degradation {

#define RESFLOW_RECIPE(make, name, help) Recipe make();
#include "resflow/degradation/list.inc"
#undef RESFLOW_RECIPE

const std::vector<NamedRecipe>& recipes() {
  static const std::vector<NamedRecipe> all = {
#define RESFLOW_RECIPE(make, name, help) {name, help, make()},
#include "resflow/degradation/list.inc"
#undef RESFLOW_RECIPE
  };
  return all;
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const auto& r : recipes()) names.push_back(r.name);
  return names;
}

const Recipe& recipe(std::string_view name) {
  for (const auto& r : recipes())
    if (r.name == name) return r.recipe;
  throw_unknown_name("recipe", name, recipe_names());
}

namespace {

void check_interval(const std::string& name, const Interval& interval, double low, double high) {
  if (interval.low <= interval.high && interval.low >= low && interval.high <= high) return;
  throw_user_error({.where = "degradation recipe",
                    .problem = name + " is not an interval",
                    .wanted = fmt::format("{} <= low <= high <= {}", low, high),
                    .got = fmt::format("low {}, high {}", interval.low, interval.high)});
}

void check_order(const Order& order) {
  check_interval("blur_sigma", order.blur_sigma, 1e-3, 100);
  check_interval("generalised_beta", order.generalised_beta, .1, 100);
  check_interval("plateau_beta", order.plateau_beta, .1, 100);
  check_interval("resize_range", order.resize_range, .01, 10);
  check_interval("gaussian_sigma", order.gaussian_sigma, 0, 255);
  check_interval("poisson_scale", order.poisson_scale, 0, 255);
  check_interval("jpeg_quality", order.jpeg_quality, 1, 100);
  if (order.resize_up + order.resize_down > 1 + 1e-9)
    throw_user_error({.where = "degradation recipe", .problem = "resize_up + resize_down is above 1"});
}

}  // namespace

void check_recipe(const Recipe& recipe) {
  check_fields(recipe);
  check_order(recipe.first);
  check_order(recipe.second);
}

}  // namespace resflow::degradation
