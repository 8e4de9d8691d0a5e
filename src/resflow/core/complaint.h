// A UserError that can be taken apart again, for programs that show its parts one by one (the Python module).
#pragma once

#include "resflow/core/error.h"

namespace resflow {

// What throw_user_error() throws. with_context() keeps the text alone.
struct ComplaintError : UserError {
  ComplaintError(const std::string& text, Complaint parts) : UserError(text), complaint(std::move(parts)) {}
  Complaint complaint;
};

}  // namespace resflow
