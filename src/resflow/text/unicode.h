// What tokenizers ask of Unicode (version 14): classes of characters, lower case, the normal forms. No locale anywhere.
#pragma once

#include <string>
#include <string_view>

namespace resflow::text {

// Bytes that are not UTF-8 become U+FFFD, one for each.
std::u32string decode_utf8(std::string_view bytes);
std::string encode_utf8(std::u32string_view text);

bool is_letter(char32_t c);           // categories L*
bool is_number(char32_t c);           // N*
bool is_nonspacing_mark(char32_t c);  // Mn
bool is_punctuation(char32_t c);      // P*
bool is_control(char32_t c);          // Cc, Cf, Co
bool is_space(char32_t c);            // the property White_Space

// Where the grapheme that begins at `begin` ends. Rules that only join characters of three bytes and more in UTF-8 are left out (Hangul, flags,
// emoji sequences, Indic conjuncts): Charsmap, for which this is, looks at graphemes of five bytes at most.
size_t grapheme_end(std::u32string_view text, size_t begin);

// Character by character: no final sigma; capital I with a dot becomes i and a combining dot.
std::u32string lower(std::u32string_view text);
std::u32string decompose(std::u32string_view text);  // NFD
std::u32string compose(std::u32string_view text);    // NFC

}  // namespace resflow::text
