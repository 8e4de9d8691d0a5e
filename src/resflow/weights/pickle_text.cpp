// What messages say of a pickle's values.
#include <fmt/format.h>

#include "resflow/weights/pickle.h"

namespace resflow::weights {
namespace {

using Kind = PickleValue::Kind;

constexpr size_t kTextShown = 100;

}  // namespace

std::string printable(std::string_view text) {
  std::string shown(text.substr(0, kTextShown));
  for (char& c : shown)
    if (c < ' ' || c > '~') c = '?';
  return text.size() > kTextShown ? shown + "..." : shown;
}

std::string describe(const PickleValue& value) {
  switch (value.kind) {
    case Kind::none:
      return "None";
    case Kind::boolean:
      return value.integer != 0 ? "True" : "False";
    case Kind::integer:
      return std::to_string(value.integer);
    case Kind::real:
      return fmt::format("{}", value.real);
    case Kind::text:
      return fmt::format("'{}'", printable(value.text));
    case Kind::tuple:
      return fmt::format("a tuple of {}", value.items.size());
    case Kind::list:
      return fmt::format("a list of {}", value.items.size());
    case Kind::dict:
      return fmt::format("a dict of {}", value.items.size() / 2);
    case Kind::global:
      return printable(value.text);
    case Kind::call:
      return printable(value.text) + "(...)";
    case Kind::object:
      return "an object of class " + printable(value.text);
    case Kind::persistent:
      return "a storage";
  }
  return "";
}

}  // namespace resflow::weights
