// JSON that others wrote.
#pragma once

#include <string_view>

#include "resflow/core/json.h"

namespace resflow {

// Discarded (is_discarded()) where the text is no JSON, or is nested more than 100 deep: a few hundred thousand brackets would overflow the stack of
// whoever prints such a value, as a message about it does.
Json parse_json(std::string_view text);

}  // namespace resflow
