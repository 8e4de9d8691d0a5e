#include "resflow/image/vips_session.h"

#include <ATen/Parallel.h>
#include <vips/vips.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "resflow/core/error.h"

namespace resflow::image {
namespace {

thread_local std::string warnings;

void keep_warning(const char*, GLogLevelFlags, const char* message, void*) {
  if (warnings.size() < 1000) warnings += (warnings.empty() ? "" : "; ") + std::string(message);
}

std::string on_one_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos;) text.replace(at, 1, "; ");
  return text;
}

}  // namespace

void start_vips() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (VIPS_INIT("resflow") != 0) throw_user_error({.problem = "libvips cannot start: " + take_vips_error()});
    vips_cache_set_max(0);
    vips_concurrency_set(std::max(1, at::get_num_threads()));
    g_log_set_handler("VIPS", G_LOG_LEVEL_WARNING, keep_warning, nullptr);
  });
}

std::string take_vips_error() {
  std::string text = on_one_line(vips_error_buffer());
  vips_error_clear();
  return text;
}

std::string take_vips_warnings() { return on_one_line(std::exchange(warnings, "")); }

void Unref::operator()(void* object) const { g_object_unref(object); }

}  // namespace resflow::image
