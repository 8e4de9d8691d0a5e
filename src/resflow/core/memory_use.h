// Bytes of memory: how many this process holds, how many the machine has left, and how people write them.
#pragma once

#include <cstdint>
#include <string>

namespace resflow {

// Of this process, in bytes (/proc/self/status). Anonymous: what it allocated. Mapped: pages of files, which the kernel takes back when it needs
// them. -1 where the system does not tell.
struct MemoryUse {
  int64_t anonymous = -1, mapped = -1;
};
MemoryUse memory_use();

// What programs can still allocate: of the machine, or of this process's control group (v2) where that is less. In bytes; -1: not told.
int64_t available_memory();

// From now on blocks of 1 MiB and more go back to the system when they are freed. Otherwise they stay in the heap as gaps, since glibc's malloc
// raises its bound to 32 MiB by itself: a third more than was in use, measured. Does nothing where malloc is another's.
void return_large_blocks();

// "12G", "12 GiB", "800M", "1.5g", "1048576": units of 1024, without one bytes. Throws UserError, naming `where`.
int64_t parse_bytes(const std::string& text, const std::string& where);
// "11.9 GiB", "86 MiB"
std::string bytes_text(int64_t bytes);

}  // namespace resflow
