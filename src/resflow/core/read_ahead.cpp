#include "resflow/core/read_ahead.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace resflow {

void read_ahead(const void* begin, size_t bytes) {
  if (bytes == 0) return;
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(begin) / page * page, last = reinterpret_cast<uintptr_t>(begin) + bytes;
  ::madvise(reinterpret_cast<void*>(first), last - first, MADV_WILLNEED);  // advice: what fails is only slower
}

}  // namespace resflow
