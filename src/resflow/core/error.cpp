#include "resflow/core/error.h"

#include <c10/util/Exception.h>

#include <new>

#include "resflow/core/complaint.h"

namespace resflow {

void throw_user_error(const Complaint& complaint) {
  std::string text;
  if (!complaint.where.empty()) text += "[" + complaint.where + "] ";
  text += complaint.problem;
  if (!complaint.wanted.empty()) text += ": wanted " + complaint.wanted;
  if (!complaint.got.empty()) text += (complaint.wanted.empty() ? ": got " : ", got ") + complaint.got;
  if (!complaint.hint.empty()) text += ". " + complaint.hint;
  throw ComplaintError(text, complaint);
}

std::string readable_message(const std::exception& error) {
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr || dynamic_cast<const std::bad_alloc*>(&error) != nullptr)
    return "out of memory. Try a smaller --tile, a smaller --scale or --device cpu";
  if (const auto* torch_error = dynamic_cast<const c10::Error*>(&error)) {
    const std::string text = torch_error->what_without_backtrace();
    // The CPU allocator reports exhaustion as a plain c10::Error.
    if (text.find("DefaultCPUAllocator") != std::string::npos)
      return "out of memory. Try a smaller --tile or a smaller --scale (" + text.substr(0, text.find('\n')) + ")";
    return text;
  }
  return error.what();
}

}  // namespace resflow
