// What is in a zip archive's entries. Not part of the build of the trainer alone, which has no zlib.
#pragma once

#include <string>
#include <string_view>

#include "resflow/weights/zip.h"

namespace resflow::weights {

// The content of an entry of `archive`, inflated where it is deflated. `name` ("FILE: entry 'x'") begins the message. Throws UserError: encrypted,
// compressed otherwise, larger than a deflated entry of its size can be, or damaged (CRC-32).
std::string unzip(std::string_view archive, const ZipEntry& entry, const std::string& name);

}  // namespace resflow::weights
