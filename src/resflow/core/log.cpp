#include "resflow/core/log.h"

#include <atomic>
#include <cstdio>

namespace resflow {
namespace {
std::atomic<LogLevel> level{LogLevel::info};
void put(LogLevel at, const char* prefix, const std::string& text) {
  if (level.load() >= at) std::fprintf(stderr, "%s%s\n", prefix, text.c_str());
}
}  // namespace

void set_log_level(LogLevel wanted) { level = wanted; }
void log_warn(const std::string& text) { put(LogLevel::warn, "warning: ", text); }
void log_info(const std::string& text) { put(LogLevel::info, "", text); }
void log_debug(const std::string& text) { put(LogLevel::debug, "debug: ", text); }

}  // namespace resflow
