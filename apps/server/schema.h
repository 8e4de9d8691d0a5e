// The options as data, drawn from the structs' fields(): for the web page's form and the OpenAPI document.
#pragma once

#include <string>

#include "resflow/core/fields.h"
#include "server/options.h"

namespace resflow::server {

namespace detail {
template <class Value>
const char* type_name() {
  if constexpr (std::is_same_v<Value, bool>) return "boolean";
  if constexpr (std::is_integral_v<Value>) return "integer";
  if constexpr (std::is_floating_point_v<Value>) return "number";
  return std::is_same_v<Value, std::string> ? "string" : "list";
}
}  // namespace detail

// [{"name", "type", "default", "help", "minimum", "maximum", "choices"}]; of a list also "items".
template <HasFields Options>
Json describe_fields(const Options& defaults) {
  Json out = Json::array();
  Options::fields(defaults, [&](const std::string& name, const auto& value, const std::string& help, const auto&... constraint) {
    using Value = std::remove_cvref_t<decltype(value)>;
    Json field = {{"name", name}, {"type", detail::type_name<Value>()}, {"default", value}, {"help", help}};
    if constexpr (std::is_same_v<Value, std::vector<std::string>>) field["items"] = "string";
    if constexpr (std::is_same_v<Value, std::vector<double>>) field["items"] = "number";
    [[maybe_unused]] const auto add = [&](const auto& c) {
      using Constraint = std::remove_cvref_t<decltype(c)>;
      if constexpr (std::is_same_v<Constraint, Range>) {
        const auto bound = [](double at) { return std::is_integral_v<Value> ? Json(static_cast<int64_t>(at)) : Json(at); };
        if (c.low > -std::numeric_limits<double>::infinity()) field["minimum"] = bound(c.low);
        if (c.high < std::numeric_limits<double>::infinity()) field["maximum"] = bound(c.high);
      }
      if constexpr (std::is_same_v<Constraint, OneOf>) field["choices"] = c.names;
    };
    (add(constraint), ...);
    out.push_back(std::move(field));
  });
  return out;
}

// {"groups": [{"name", "title", "fields"}], "limits": {...}}.
Json options_schema(const ServeOptions& limits);

// A JSON Schema of one field's values.
Json json_schema(const Json& field);

}  // namespace resflow::server
