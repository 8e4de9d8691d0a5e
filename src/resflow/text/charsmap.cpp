#include "resflow/text/charsmap.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "resflow/core/error.h"
#include "resflow/text/unicode.h"

namespace resflow::text {

static_assert(std::endian::native == std::endian::little, "the trie's numbers are little-endian");

Charsmap::Charsmap(std::string_view blob, const std::string& where) {
  if (blob.empty()) return;
  uint32_t bytes = 0;
  if (blob.size() >= sizeof(bytes)) std::memcpy(&bytes, blob.data(), sizeof(bytes));
  if (bytes < sizeof(uint32_t) || bytes % sizeof(uint32_t) != 0 || bytes > blob.size() - sizeof(bytes) || !blob.ends_with('\0'))
    throw_user_error(
        {.where = where, .problem = "the normaliser's table is damaged", .got = fmt::format("{} bytes, a trie of {}", blob.size(), bytes)});
  trie_.resize(bytes / sizeof(uint32_t));
  std::memcpy(trie_.data(), blob.data() + sizeof(bytes), bytes);
  strings_ = blob.substr(sizeof(bytes) + bytes);
}

const char* Charsmap::find(std::string_view text) const {
  // darts-clone: bits 10-30 the offset to the children (bit 9: in steps of 256), bit 8 "an entry ends here", bits 0-7 and 31 the label.
  const auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); };
  size_t node = offset(trie_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    node ^= byte;
    if (byte == 0 || node >= trie_.size() || (trie_[node] & (1u << 31 | 0xff)) != byte) return nullptr;
    const uint32_t unit = trie_[node];
    node ^= offset(unit);
    if (node >= trie_.size()) return nullptr;
    if ((unit >> 8 & 1) == 0) continue;
    const size_t place = trie_[node] & 0x7fffffff;
    return place < strings_.size() ? strings_.data() + place : nullptr;
  }
  return nullptr;
}

std::string Charsmap::normalise(std::string_view text) const {
  constexpr size_t kShort = 6;  // bytes; `tokenizers` looks up shorter graphemes as wholes
  if (trie_.empty()) return std::string(text);
  const std::u32string characters = decode_utf8(text);
  std::string out;
  for (size_t begin = 0, end = 0; begin < characters.size(); begin = end) {
    end = grapheme_end(characters, begin);
    const std::string grapheme = encode_utf8(std::u32string_view(characters).substr(begin, end - begin));
    if (const char* whole = grapheme.size() < kShort ? find(grapheme) : nullptr) {
      out += whole;
      continue;
    }
    for (size_t i = begin; i < end; ++i) {
      const std::string character = encode_utf8(std::u32string_view(characters).substr(i, 1));
      const char* alone = find(character);
      out += alone != nullptr ? alone : character;
    }
  }
  return out;
}

}  // namespace resflow::text
