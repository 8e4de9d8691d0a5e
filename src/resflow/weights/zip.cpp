#include "resflow/weights/zip.h"

#include <fmt/format.h>

#include <algorithm>

#include "resflow/core/error.h"
#include "resflow/weights/pickle.h"

namespace resflow::weights {
namespace {

constexpr uint64_t kEndSize = 22, kEndLongestComment = 65535;
constexpr uint64_t kLocatorSize = 20, kEnd64Size = 56, kCentralSize = 46, kLocalSize = 30;
constexpr uint16_t kZip64Extra = 1, kEncrypted = 1, kDeflate = 8;
constexpr uint64_t kIn64 = 0xffffffff, kCountIn64 = 0xffff;  // "see the Zip64 record"

// Little endian numbers of an archive, never from outside it.
class Archive {
 public:
  Archive(std::string_view bytes, const std::string& file, const std::string& where) : bytes_(bytes), file_(file), where_(where) {}

  [[noreturn]] void fail(const std::string& problem, const std::string& hint = "Perhaps an incomplete download?") const {
    throw_user_error({.where = where_, .problem = file_ + ": " + problem, .hint = hint});
  }
  void need(uint64_t at, uint64_t count) const {
    if (at > bytes_.size() || count > bytes_.size() - at) fail("a damaged zip archive: it points past its end");
  }
  uint64_t number(uint64_t at, int width) const {
    need(at, static_cast<uint64_t>(width));
    uint64_t value = 0;
    for (int i = 0; i < width; ++i) value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes_[at + i])) << (8 * i);
    return value;
  }
  bool signature(uint64_t at, std::string_view wanted) const { return at <= bytes_.size() && bytes_.substr(at).starts_with(wanted); }
  std::string text(uint64_t at, uint64_t count) const {
    need(at, count);
    return std::string(bytes_.substr(at, count));
  }
  uint64_t size() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
  const std::string& file_;
  const std::string& where_;
};

struct Directory {
  uint64_t begin = 0, count = 0;
};

Directory find_directory(const Archive& archive) {
  if (archive.size() < kEndSize) archive.fail("a zip archive without its directory");
  uint64_t end = archive.size() - kEndSize;
  const uint64_t first = end - std::min(end, kEndLongestComment);
  while (!archive.signature(end, "PK\5\6")) {
    if (end == first) archive.fail("a zip archive without its directory");
    --end;
  }
  Directory directory{.begin = archive.number(end + 16, 4), .count = archive.number(end + 10, 2)};
  if (directory.begin != kIn64 && directory.count != kCountIn64) return directory;
  if (end < kLocatorSize || !archive.signature(end - kLocatorSize, "PK\6\7")) return directory;
  const auto end64 = archive.number(end - kLocatorSize + 8, 8);
  if (!archive.signature(end64, "PK\6\6")) archive.fail("a damaged zip archive: no Zip64 directory where it should be");
  archive.need(end64, kEnd64Size);
  return {.begin = archive.number(end64 + 48, 8), .count = archive.number(end64 + 32, 8)};
}

// The 8-byte numbers that replace those which say kIn64, in their fixed order.
void widen(const Archive& archive, uint64_t extra, uint64_t extra_size, uint64_t& size, uint64_t& stored, uint64_t& local) {
  for (uint64_t at = extra; at + 4 <= extra + extra_size;) {
    const auto id = archive.number(at, 2), length = archive.number(at + 2, 2);
    if (id == kZip64Extra) {
      uint64_t next = at + 4;
      for (auto* value : {&size, &stored, &local})
        if (*value == kIn64) {
          if (next + 8 > at + 4 + length) archive.fail("a damaged zip archive: a Zip64 field is too short");
          *value = archive.number(next, 8);
          next += 8;
        }
      return;
    }
    at += 4 + length;
  }
}

}  // namespace

std::map<std::string, ZipEntry, std::less<>> read_zip(std::string_view bytes, const std::string& file, const std::string& where) {
  const Archive archive(bytes, file, where);
  const auto directory = find_directory(archive);
  std::map<std::string, ZipEntry, std::less<>> entries;
  uint64_t at = directory.begin;
  for (uint64_t i = 0; i < directory.count; ++i) {
    archive.need(at, kCentralSize);
    if (!archive.signature(at, "PK\1\2")) archive.fail("a damaged zip archive: its directory ends early");
    const auto flags = archive.number(at + 8, 2), method = archive.number(at + 10, 2), crc = archive.number(at + 16, 4);
    uint64_t stored = archive.number(at + 20, 4), size = archive.number(at + 24, 4), local = archive.number(at + 42, 4);
    const auto name_size = archive.number(at + 28, 2), extra_size = archive.number(at + 30, 2), comment_size = archive.number(at + 32, 2);
    const auto name = archive.text(at + kCentralSize, name_size);
    archive.need(at + kCentralSize + name_size, extra_size);
    widen(archive, at + kCentralSize + name_size, extra_size, size, stored, local);
    at += kCentralSize + name_size + extra_size + comment_size;

    archive.need(local, kLocalSize);
    if (!archive.signature(local, "PK\3\4"))
      archive.fail(fmt::format("a damaged zip archive: entry '{}' is not where it should be", printable(name)));
    const auto begin = local + kLocalSize + archive.number(local + 26, 2) + archive.number(local + 28, 2);
    archive.need(begin, stored);
    const bool open = (flags & kEncrypted) == 0;
    const ZipEntry entry{.begin = begin,
                         .size = stored,
                         .stored = open && method == 0 && stored == size,
                         .deflated = open && method == kDeflate,
                         .unpacked = size,
                         .crc = static_cast<uint32_t>(crc)};
    if (!entries.emplace(name, entry).second) archive.fail(fmt::format("a damaged zip archive: two entries '{}'", printable(name)));
  }
  return entries;
}

}  // namespace resflow::weights
