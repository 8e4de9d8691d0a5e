#include "resflow/core/parse_json.h"

namespace resflow {

Json parse_json(std::string_view text) {
  constexpr int kDeepest = 100;
  bool too_deep = false;
  const auto watch = [&](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > kDeepest;
    return !too_deep;  // nothing more is kept
  };
  Json json = Json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
  return too_deep ? Json(Json::value_t::discarded) : json;
}

}  // namespace resflow
