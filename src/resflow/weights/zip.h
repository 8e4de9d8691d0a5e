// The directory of a zip archive with entries that are stored as they are, as torch.save writes them. PKWARE's APPNOTE.TXT, with Zip64.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace resflow::weights {

struct ZipEntry {
  uint64_t begin = 0, size = 0;  // bytes of the archive; inside it
  bool stored = true;            // false: compressed or encrypted, so these bytes are not the content
};

// Name -> place. Throws UserError for an archive that is damaged or cut short; `file` begins the message. Checksums are not looked at: that would
// fetch every page of the file.
std::map<std::string, ZipEntry, std::less<>> read_zip(std::string_view bytes, const std::string& file);

}  // namespace resflow::weights
