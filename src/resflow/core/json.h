// The one place that names the JSON library.
#pragma once

#include <nlohmann/json.hpp>

namespace resflow {
// Keys keep the order in which they were written, so that files read as they were meant.
using Json = nlohmann::ordered_json;
}  // namespace resflow
