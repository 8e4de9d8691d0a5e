#include "resflow/core/fields.h"

#include <fmt/format.h>

#include <algorithm>

namespace resflow {

void check_constraint(const std::string& name, double value, const Range& range) {
  if (value >= range.low && value <= range.high) return;
  throw_user_error(
      {.problem = name + " is out of range", .wanted = fmt::format("a number in [{}, {}]", range.low, range.high), .got = fmt::format("{}", value)});
}

void check_constraint(const std::string& name, const std::string& value, const OneOf& names) {
  if (std::find(names.names.begin(), names.names.end(), value) == names.names.end()) throw_unknown_name(name, value, names.names);
}

}  // namespace resflow
