// The directory of a zip archive: torch.save's, whose entries are stored as they are, or a Python wheel. PKWARE's APPNOTE.TXT, with Zip64.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace resflow::weights {

struct ZipEntry {
  uint64_t begin = 0, size = 0;  // bytes of the archive; inside it
  bool stored = true;            // false: compressed or encrypted, so these bytes are not the content
  bool deflated = false;         // then unzip() makes the content of them
  uint64_t unpacked = 0;         // the content's size, as the directory says
  uint32_t crc = 0;              // the content's CRC-32, as the directory says
};

// Name -> place. Throws UserError for an archive that is damaged or cut short; "[where] file" begins the message. Checksums are not looked at: that
// would fetch every page of the file.
std::map<std::string, ZipEntry, std::less<>> read_zip(std::string_view bytes, const std::string& file, const std::string& where = "torch");

}  // namespace resflow::weights
