// Options listed once. A struct of options has
//
//   template <class Self, class Visitor> static void fields(Self& o, Visitor&& visit) {
//     visit("steps", o.steps, "Number of denoising steps", Range{1, 200});
//     visit("sampler", o.sampler, "ODE solver", OneOf{samplers().names()});
//   }
//
// and the command line (apps/cli), JSON, the manifest, the schema and the docs are drawn from that list. Field types: bool,
// int, int64_t, double, std::string, std::vector<std::string>, std::vector<double>, and structs with fields of their own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "resflow/core/error.h"
#include "resflow/core/json.h"
#include "resflow/core/registry.h"

namespace resflow {

struct Any {};  // no constraint
struct Range {
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
};
struct OneOf {
  std::vector<std::string> names;
};

namespace detail {
struct NullVisitor {
  template <class... T>
  void operator()(T&&...) {}
};
}  // namespace detail

template <class T>
concept HasFields = requires(T& t, detail::NullVisitor v) {
  T::fields(t, v);
};

// "steps: wanted a number in [1, 200], got 900".
void check_constraint(const std::string& name, double value, const Range& range);
void check_constraint(const std::string& name, const std::string& value, const OneOf& names);

template <class T, class Constraint>
void check_field(const std::string& name, const T& value, const Constraint& constraint) {
  if constexpr (std::is_same_v<Constraint, Range> && std::is_arithmetic_v<T>) check_constraint(name, static_cast<double>(value), constraint);
  if constexpr (std::is_same_v<Constraint, OneOf> && std::is_same_v<T, std::string>) check_constraint(name, value, constraint);
  if constexpr (std::is_same_v<Constraint, OneOf> && std::is_same_v<T, std::vector<std::string>>)
    for (const auto& v : value) check_constraint(name, v, constraint);
}

template <HasFields Options>
std::vector<std::string> field_names(const Options& options) {
  std::vector<std::string> names;
  Options::fields(options, [&](const std::string& name, const auto&...) { names.push_back(name); });
  return names;
}

// Values -> JSON (the manifest's form).
template <HasFields Options>
Json fields_to_json(const Options& options) {
  Json out = Json::object();
  Options::fields(options, [&](const std::string& name, const auto& value, const auto&...) {
    if constexpr (HasFields<std::remove_cvref_t<decltype(value)>>) {
      out[name] = fields_to_json(value);
    } else {
      out[name] = value;
    }
  });
  return out;
}

// Checks every value against its constraint. Throws UserError.
template <HasFields Options>
void check_fields(const Options& options) {
  Options::fields(options, [](const std::string& name, const auto& value, const std::string&, const auto&... constraint) {
    if constexpr (HasFields<std::remove_cvref_t<decltype(value)>>) {
      check_fields(value);
    } else {
      (check_field(name, value, constraint), ...);
    }
  });
}

namespace detail {
template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};

template <class T>
const char* type_words() {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_integral_v<T>) return "a whole number";
  if constexpr (std::is_floating_point_v<T>) return "a number";
  return IsVector<T>::value ? "a list" : "a text";
}

// Whether a JSON value is one of a type without loss. The JSON library itself would round 2.5 to an int, wrap what is too large and
// count true for 1.
template <class T>
bool is_value_of(const Json& json) {
  if constexpr (std::is_same_v<T, bool>) {
    return json.is_boolean();
  } else if constexpr (std::is_integral_v<T>) {
    return json.is_number_unsigned() ? std::in_range<T>(json.get<uint64_t>()) : json.is_number_integer() && std::in_range<T>(json.get<int64_t>());
  } else if constexpr (std::is_floating_point_v<T>) {
    return json.is_number();
  } else if constexpr (IsVector<T>::value) {
    return json.is_array() && std::all_of(json.begin(), json.end(), is_value_of<typename T::value_type>);
  } else {
    return json.is_string();
  }
}
}  // namespace detail

// JSON -> values; absent keys keep their defaults, unknown keys and wrong types are a UserError with the nearest name.
template <HasFields Options>
void fields_from_json(Options& options, const Json& json, const std::string& where = "options") {
  if (!json.is_object()) throw_user_error({.where = where, .problem = "not a table", .wanted = "key = value pairs", .got = json.type_name()});
  const auto known = field_names(options);
  for (const auto& [key, value] : json.items())
    if (std::find(known.begin(), known.end(), key) == known.end()) throw_unknown_name("option in " + where, key, known);
  Options::fields(options, [&](const std::string& name, auto& value, const std::string&, const auto&...) {
    if (!json.contains(name)) return;
    if constexpr (HasFields<std::remove_cvref_t<decltype(value)>>) {
      fields_from_json(value, json.at(name), where + "." + name);
    } else {
      using Value = std::remove_cvref_t<decltype(value)>;
      if (!detail::is_value_of<Value>(json.at(name)))
        throw_user_error({.where = where + "." + name, .problem = "wrong type", .wanted = detail::type_words<Value>(), .got = json.at(name).dump()});
      value = json.at(name).template get<Value>();
    }
  });
  check_fields(options);
}

}  // namespace resflow
