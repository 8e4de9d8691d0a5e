#include "resflow/text/unicode.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <utility>

namespace resflow::text {
namespace {

struct Range {
  char32_t first, last;
};
struct CaseRun {
  char32_t first, last;
  uint32_t stride;
  int32_t difference;
};
struct CombiningRun {
  char32_t first, last;
  int order;  // canonical combining class
};
struct Decomposition {
  char32_t whole, first, second;
};
#include "resflow/text/unicode_classes.inc"
#include "resflow/text/unicode_decompositions.inc"
#include "resflow/text/unicode_graphemes.inc"

constexpr char32_t kReplacement = 0xFFFD;

// The entry of a sorted table of ranges that holds c, or the end.
template <class Table>
auto holding(const Table& table, char32_t c) {
  const auto after = std::upper_bound(std::begin(table), std::end(table), c, [](char32_t value, const auto& range) { return value < range.first; });
  return after != std::begin(table) && c <= std::prev(after)->last ? std::prev(after) : std::end(table);
}
template <class Table>
bool contains(const Table& table, char32_t c) {
  return holding(table, c) != std::end(table);
}

// Hangul syllables are composed by arithmetic (The Unicode Standard, 3.12).
constexpr char32_t kSyllables = 0xAC00, kLeads = 0x1100, kVowels = 0x1161, kTails = 0x11A7;
constexpr char32_t kLeadCount = 19, kVowelCount = 21, kTailCount = 28, kSyllableCount = kLeadCount * kVowelCount * kTailCount;

const Decomposition* decomposition_of(char32_t c) {
  const auto find = [c](const auto& table) -> const Decomposition* {
    const auto found =
        std::lower_bound(std::begin(table), std::end(table), c, [](const Decomposition& d, char32_t value) { return d.whole < value; });
    return found != std::end(table) && found->whole == c ? found : nullptr;
  };
  const auto* found = find(kCompositions);
  return found != nullptr ? found : find(kOneWay);
}

void append_decomposed(char32_t c, std::u32string& out) {
  if (c >= kSyllables && c < kSyllables + kSyllableCount) {
    const char32_t index = c - kSyllables, tail = index % kTailCount;
    out += kLeads + index / (kVowelCount * kTailCount);
    out += kVowels + index / kTailCount % kVowelCount;
    if (tail != 0) out += kTails + tail;
  } else if (const auto* parts = decomposition_of(c)) {
    append_decomposed(parts->first, out);
    if (parts->second != 0) append_decomposed(parts->second, out);
  } else {
    out += c;
  }
}

int combining_order(char32_t c) {
  const auto found = holding(kCombining, c);
  return found == std::end(kCombining) ? 0 : found->order;
}

// The character that two make, or 0.
char32_t composed(char32_t first, char32_t second) {
  if (first >= kLeads && first < kLeads + kLeadCount && second >= kVowels && second < kVowels + kVowelCount)
    return kSyllables + ((first - kLeads) * kVowelCount + (second - kVowels)) * kTailCount;
  const bool syllable = first >= kSyllables && first < kSyllables + kSyllableCount && (first - kSyllables) % kTailCount == 0;
  if (syllable && second > kTails && second < kTails + kTailCount) return first + (second - kTails);
  static const auto pairs = [] {
    std::map<std::pair<char32_t, char32_t>, char32_t> out;
    for (const auto& d : kCompositions) out[{d.first, d.second}] = d.whole;
    return out;
  }();
  const auto found = pairs.find({first, second});
  return found == pairs.end() ? 0 : found->second;
}

}  // namespace

std::u32string decode_utf8(std::string_view bytes) {
  std::u32string out;
  for (size_t i = 0; i < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[i]);
    const size_t length = lead < 0x80 ? 1 : lead >= 0xC2 && lead < 0xE0 ? 2 : lead >= 0xE0 && lead < 0xF0 ? 3 : lead >= 0xF0 && lead < 0xF5 ? 4 : 0;
    char32_t c = length == 1 ? lead : lead & (0xFF >> (length + 1));
    bool good = length > 0 && i + length <= bytes.size();
    for (size_t k = 1; good && k < length; ++k) {
      const auto next = static_cast<unsigned char>(bytes[i + k]);
      good = (next & 0xC0) == 0x80;
      c = c << 6 | (next & 0x3F);
    }
    constexpr std::array<char32_t, 5> smallest = {0, 0, 0x80, 0x800, 0x10000};
    good = good && c >= smallest[length] && c < 0x110000 && !(c >= 0xD800 && c < 0xE000);
    out += good ? c : kReplacement;
    i += good ? length : 1;
  }
  return out;
}

std::string encode_utf8(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) {
    const auto tail = [&](int shift) { out += static_cast<char>(0x80 | (c >> shift & 0x3F)); };
    if (c < 0x80) {
      out += static_cast<char>(c);
    } else if (c < 0x800) {
      out += static_cast<char>(0xC0 | c >> 6);
      tail(0);
    } else if (c < 0x10000) {
      out += static_cast<char>(0xE0 | c >> 12);
      tail(6);
      tail(0);
    } else {
      out += static_cast<char>(0xF0 | c >> 18);
      tail(12);
      tail(6);
      tail(0);
    }
  }
  return out;
}

bool is_letter(char32_t c) { return contains(kLetters, c); }
bool is_number(char32_t c) { return contains(kNumbers, c); }
bool is_nonspacing_mark(char32_t c) { return contains(kNonspacingMarks, c); }
bool is_punctuation(char32_t c) { return contains(kPunctuation, c); }
bool is_control(char32_t c) { return contains(kControls, c); }

bool is_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t grapheme_end(std::u32string_view text, size_t begin) {
  const auto breaks = [](char32_t c) { return contains(kGraphemeBreakers, c); };
  size_t end = begin + 1;
  if (breaks(text[begin])) return text.substr(begin, 2) == U"\r\n" ? begin + 2 : end;
  while (end < text.size() && (contains(kGraphemeExtenders, text[end]) || (contains(kGraphemePrepended, text[end - 1]) && !breaks(text[end])))) ++end;
  return end;
}

std::u32string lower(std::u32string_view text) {
  std::u32string out;
  for (const char32_t c : text) {
    const auto run = holding(kLower, c);
    if (c == 0x130) {
      out += U"i\u0307";
    } else if (run != std::end(kLower) && (c - run->first) % run->stride == 0) {
      out += static_cast<char32_t>(static_cast<int64_t>(c) + run->difference);
    } else {
      out += c;
    }
  }
  return out;
}

std::u32string decompose(std::u32string_view text) {
  std::u32string out;
  for (const char32_t c : text) append_decomposed(c, out);
  const auto order = [](char32_t a, char32_t b) { return combining_order(a) < combining_order(b); };
  for (auto begin = out.begin(); begin != out.end();) {
    const auto is_mark = [](char32_t c) { return combining_order(c) != 0; };
    begin = std::find_if(begin, out.end(), is_mark);
    const auto end = std::find_if_not(begin, out.end(), is_mark);
    std::stable_sort(begin, end, order);
    begin = end;
  }
  return out;
}

std::u32string compose(std::u32string_view text) {
  std::u32string out;
  size_t starter = std::u32string::npos;
  int last = 0;  // combining class of what stands between the starter and here; 0 = nothing does
  for (const char32_t c : decompose(text)) {
    const int order = combining_order(c);
    const bool blocked = starter == std::u32string::npos || (last != 0 ? last >= order : starter + 1 != out.size());
    if (const char32_t whole = blocked ? 0 : composed(out[starter], c); whole != 0) {
      out[starter] = whole;
      continue;
    }
    if (order == 0) starter = out.size();
    last = order;
    out += c;
  }
  return out;
}

}  // namespace resflow::text
