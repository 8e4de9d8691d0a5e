// Bytes of a mapped file, fetched from the disk before they are touched.
#pragma once

#include <cstddef>

namespace resflow {

// Asks the kernel to read these bytes of a mapping and comes back at once; several such requests are read side by side, while a page that is touched
// waits for the disk alone. Memory that is no file's is left as it is.
void read_ahead(const void* begin, size_t bytes);

}  // namespace resflow
