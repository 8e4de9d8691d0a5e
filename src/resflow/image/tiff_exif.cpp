#include "resflow/image/tiff_exif.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string_view>
#include <vector>

#include "resflow/core/error.h"

namespace resflow::image {
namespace {

constexpr uint16_t kExifPointer = 0x8769, kGpsPointer = 0x8825, kInteroperabilityPointer = 0xa005;
constexpr uint16_t kPixelXDimension = 0xa002, kPixelYDimension = 0xa003;
constexpr uint16_t kLong = 4, kLong8 = 16;
// Tags of the first directory that tell of the picture, not of how its pixels lie: description, maker, model, software, time, artist, host,
// rating, copyright, Windows' texts.
const std::set<uint16_t> kTelling{0x10e, 0x10f, 0x110, 0x131, 0x132, 0x13b, 0x13c, 0x4746, 0x4749, 0x8298, 0x9c9b, 0x9c9c, 0x9c9d, 0x9c9e, 0x9c9f};
constexpr uint64_t kMostEntries = 1000, kMostBytes = 4 << 20;  // of a directory, of a value

struct Directory;
struct Entry {
  uint16_t type = 0;
  uint64_t count = 0;
  std::string data;              // little-endian
  std::vector<Directory> below;  // one, where the entry points to it
};
struct Directory {
  std::map<uint16_t, Entry> entries;
};

struct Damaged {};

// Bytes of a value's element, and of what is turned round in it; 0 = a type that EXIF does not know.
size_t element_size(uint16_t type) {
  static constexpr std::array<size_t, 13> sizes{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8};
  return type < sizes.size() ? sizes[type] : type == 13 ? 4 : type >= kLong8 && type <= 18 ? 8 : 0;
}
size_t word_size(uint16_t type) { return type == 5 || type == 10 ? 4 : element_size(type); }

// A TIFF structure: a file, or an EXIF block.
class Reader {
 public:
  explicit Reader(std::istream& in) : in_(in) {
    const std::string head = bytes(0, 4);
    little_ = head.starts_with("II");
    if (!little_ && !head.starts_with("MM")) throw Damaged{};
    const uint64_t magic = number(std::string_view(head).substr(2));
    if (magic != 42 && magic != 43) throw Damaged{};
    big_ = magic == 43;
  }

  bool big() const { return big_; }
  bool little() const { return little_; }
  uint64_t first() { return big_ ? number(bytes(8, 8)) : number(bytes(4, 4)); }
  size_t entry_size() const { return big_ ? 20 : 12; }
  size_t offset_size() const { return big_ ? 8 : 4; }

  // The entries as they stand, and the offset of the next directory behind them.
  std::string raw_entries(uint64_t at) {
    const uint64_t count = number(bytes(at, big_ ? 8 : 2));
    if (count > kMostEntries) throw Damaged{};
    return bytes(at + (big_ ? 8 : 2), count * entry_size() + offset_size());
  }

  Directory directory(uint64_t at, int depth = 0) {
    if (depth > 2) throw Damaged{};
    const std::string raw = raw_entries(at);
    Directory out;
    for (size_t i = 0; i + offset_size() < raw.size(); i += entry_size()) {
      const auto entry = std::string_view(raw).substr(i, entry_size());
      const auto tag = static_cast<uint16_t>(number(entry.substr(0, 2)));
      const bool wanted = depth > 0 || kTelling.contains(tag) || tag == kExifPointer || tag == kGpsPointer;
      if (!wanted) continue;
      try {
        out.entries[tag] = value(tag, entry, depth);
      } catch (const Damaged&) {  // one that is broken takes no other with it
        out.entries.erase(tag);
      }
    }
    return out;
  }

 private:
  std::string bytes(uint64_t at, uint64_t size) {
    if (size > kMostBytes) throw Damaged{};
    std::string out(size, '\0');
    in_.clear();
    in_.seekg(static_cast<std::streamoff>(at));
    if (!in_.read(out.data(), static_cast<std::streamsize>(size))) throw Damaged{};
    return out;
  }
  uint64_t number(std::string_view text) const {
    uint64_t value = 0;
    for (size_t i = 0; i < text.size(); ++i) value = value << 8 | static_cast<uint8_t>(text[little_ ? text.size() - 1 - i : i]);
    return value;
  }

  Entry value(uint16_t tag, std::string_view entry, int depth) {
    Entry out{.type = static_cast<uint16_t>(number(entry.substr(2, 2))), .count = number(entry.substr(4, offset_size()))};
    const size_t each = element_size(out.type);
    if (each == 0 || out.count > kMostBytes) throw Damaged{};
    const auto inside = entry.substr(4 + offset_size());
    const uint64_t size = each * out.count;
    if (tag == kExifPointer || tag == kGpsPointer || tag == kInteroperabilityPointer) {
      if (out.count != 1 || size > inside.size()) throw Damaged{};
      out.below.push_back(directory(number(inside.substr(0, size)), depth + 1));
      return out;
    }
    if (out.type >= kLong8) throw Damaged{};  // BigTIFF's own; no EXIF tag is one
    out.data = size <= inside.size() ? std::string(inside.substr(0, size)) : bytes(number(inside), size);
    if (const size_t word = word_size(out.type); !little_ && word > 1)
      for (size_t i = 0; i + word <= out.data.size(); i += word)
        std::reverse(out.data.begin() + static_cast<std::ptrdiff_t>(i), out.data.begin() + static_cast<std::ptrdiff_t>(i + word));
    return out;
  }

  std::istream& in_;
  bool little_ = true, big_ = false;
};

std::string little(uint64_t value, size_t size) {
  std::string out;
  for (size_t i = 0; i < size; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

// Entries in the file's form, and the values that lie elsewhere.
class Writer {
 public:
  // Values go to the offset `at` and behind it.
  Writer(bool big, uint64_t at) : big_(big), at_(at) {}

  const std::string& values() const { return values_; }
  uint64_t end() const { return at_ + values_.size(); }

  std::string entry(uint16_t tag, const Entry& value) {
    const size_t word = big_ ? 8 : 4;
    if (!value.below.empty()) {
      const uint64_t place = directory(value.below.front());
      return little(tag, 2) + little(big_ ? kLong8 : kLong, 2) + little(1, word) + little(place, word);
    }
    std::string inside = value.data;
    if (inside.size() > word) inside = little(store(inside), word);
    inside.resize(word, '\0');
    return little(tag, 2) + little(value.type, 2) + little(value.count, word) + inside;
  }

  // -> where it lies
  uint64_t directory(const Directory& directory) {
    std::string entries;
    for (const auto& [tag, value] : directory.entries) entries += entry(tag, value);
    return store(little(directory.entries.size(), big_ ? 8 : 2) + entries + little(0, big_ ? 8 : 4));
  }

  uint64_t store(const std::string& bytes) {
    if (end() % 2 != 0) values_ += '\0';
    const uint64_t place = end();
    values_ += bytes;
    return place;
  }

 private:
  bool big_;
  uint64_t at_;
  std::string values_;
};

void set_size(Directory& exif, uint16_t tag, int64_t value) {
  if (exif.entries.contains(tag)) exif.entries[tag] = {.type = kLong, .count = 1, .data = little(static_cast<uint64_t>(value), 4)};
}

[[noreturn]] void refuse(const std::filesystem::path& tiff) {
  throw_user_error({.where = tiff.string(), .problem = "EXIF cannot be written", .hint = "Check free space and permissions"});
}

}  // namespace

std::string read_tiff_exif(const std::filesystem::path& tiff) {
  try {
    std::ifstream in(tiff, std::ios::binary);
    Reader reader(in);
    const Directory first = reader.directory(reader.first());
    if (first.entries.empty()) return "";
    Writer writer(/*big=*/false, 8);
    const uint64_t place = writer.directory(first);
    return std::string("Exif\0\0", 6) + "II" + little(42, 2) + little(place, 4) + writer.values();
  } catch (const Damaged&) {
    return "";
  }
}

void add_tiff_exif(const std::filesystem::path& tiff, const std::string& exif, int64_t width, int64_t height) {
  Directory telling;
  try {
    std::istringstream block(exif.starts_with("Exif") ? exif.substr(6) : exif);
    Reader reader(block);
    telling = reader.directory(reader.first());
  } catch (const Damaged&) {
    return;
  }
  if (const auto pointer = telling.entries.find(kExifPointer); pointer != telling.entries.end()) {
    set_size(pointer->second.below.front(), kPixelXDimension, width);
    set_size(pointer->second.below.front(), kPixelYDimension, height);
  }
  try {
    std::fstream file(tiff, std::ios::binary | std::ios::in | std::ios::out);
    Reader reader(file);
    if (!reader.little()) return;
    const std::string raw = reader.raw_entries(reader.first());
    const size_t end_of_entries = raw.size() - reader.offset_size();
    Writer writer(reader.big(), std::filesystem::file_size(tiff));
    std::map<uint16_t, std::string> entries;
    for (size_t i = 0; i < end_of_entries; i += reader.entry_size())
      entries[static_cast<uint16_t>(static_cast<uint8_t>(raw[i]) | static_cast<uint8_t>(raw[i + 1]) << 8)] = raw.substr(i, reader.entry_size());
    for (const auto& [tag, value] : telling.entries)
      if (!entries.contains(tag)) entries[tag] = writer.entry(tag, value);
    std::string directory = little(entries.size(), reader.big() ? 8 : 2);
    for (const auto& [tag, entry] : entries) directory += entry;
    const uint64_t place = writer.store(directory + raw.substr(end_of_entries));
    if (!reader.big() && writer.end() > UINT32_MAX) return;
    file.clear();
    file.seekp(0, std::ios::end);
    file << writer.values();
    file.seekp(reader.big() ? 8 : 4);
    file << little(place, reader.offset_size());
    file.close();
    if (!file) refuse(tiff);
  } catch (const Damaged&) {
    refuse(tiff);
  }
}

}  // namespace resflow::image
