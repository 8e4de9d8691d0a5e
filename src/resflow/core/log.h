// Plain log lines on standard error: "warning: ...". Results go to standard output, never here.
#pragma once

#include <string>

namespace resflow {

enum class LogLevel { quiet, warn, info, debug };
void set_log_level(LogLevel level);
void log_warn(const std::string& text);
void log_info(const std::string& text);
void log_debug(const std::string& text);

}  // namespace resflow
