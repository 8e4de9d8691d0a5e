#include "resflow/weights/unzip.h"

#include <fmt/format.h>
#include <zlib.h>

#include <limits>

#include "resflow/core/error.h"

namespace resflow::weights {
namespace {

// Deflate's best case; what claims more is no honest archive.
constexpr uint64_t kLargestRatio = 1032;

[[noreturn]] void fail(const std::string& name, const std::string& problem, const std::string& hint = "Perhaps an incomplete download?") {
  throw_user_error({.where = "zip", .problem = name + " " + problem, .hint = hint});
}

std::string inflated(std::string_view packed, uint64_t size, const std::string& name) {
  if (packed.size() > std::numeric_limits<uInt>::max() || size > std::numeric_limits<uInt>::max()) fail(name, "is too large", "");
  std::string out(size, '\0');
  z_stream stream{};
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));  // zlib does not write to it
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  const int ended = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  if (ended != Z_STREAM_END || stream.avail_out != 0) fail(name, "is damaged");
  return out;
}

}  // namespace

std::string unzip(std::string_view archive, const ZipEntry& entry, const std::string& name) {
  if (!entry.stored && !entry.deflated)
    fail(name, "is encrypted, or compressed in another way than deflate", "Unpack the archive with another program");
  if (entry.unpacked / kLargestRatio > entry.size) fail(name, "claims to be larger than its bytes can hold");
  const std::string_view bytes = archive.substr(entry.begin, entry.size);
  std::string out = entry.stored ? std::string(bytes) : inflated(bytes, entry.unpacked, name);
  if (crc32_z(0, reinterpret_cast<const Bytef*>(out.data()), out.size()) != entry.crc) fail(name, "is damaged: its checksum is another");
  return out;
}

}  // namespace resflow::weights
