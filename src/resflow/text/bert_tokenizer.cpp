#include "resflow/text/bert_tokenizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <sstream>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/text/unicode.h"

namespace resflow::text {
namespace {

constexpr size_t kLongestWord = 100;  // characters; a longer one is unknown

// Ideographs stand alone: the blocks of CJK in Unicode. The sixth range begins 256 late in transformers' tokenizer, and so here.
bool is_ideograph(char32_t c) {
  constexpr std::array<std::pair<char32_t, char32_t>, 8> kBlocks = {{{0x4E00, 0x9FFF},
                                                                     {0x3400, 0x4DBF},
                                                                     {0x20000, 0x2A6DF},
                                                                     {0x2A700, 0x2B73F},
                                                                     {0x2B740, 0x2B81F},
                                                                     {0x2B920, 0x2CEAF},
                                                                     {0xF900, 0xFAFF},
                                                                     {0x2F800, 0x2FA1F}}};
  return std::any_of(kBlocks.begin(), kBlocks.end(), [c](const auto& block) { return c >= block.first && c <= block.second; });
}

// Symbols of ASCII such as $ and ^ count too.
bool is_separate(char32_t c) {
  return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126) || is_punctuation(c);
}

// Without controls and accents, in lower case; every kind of space as one, and one on each side of an ideograph.
std::u32string normalised(std::string_view text) {
  std::u32string clean;
  for (const char32_t c : decode_utf8(text)) {
    const bool breaks = c == U'\t' || c == U'\n' || c == U'\r';
    if (c == 0 || c == 0xFFFD || (!breaks && is_control(c))) continue;
    if (is_ideograph(c)) {
      clean += {U' ', c, U' '};
    } else {
      clean += is_space(c) ? U' ' : c;
    }
  }
  clean = decompose(clean);
  std::erase_if(clean, is_nonspacing_mark);
  return lower(clean);
}

}  // namespace

BertTokenizer BertTokenizer::load(const std::filesystem::path& vocabulary, std::initializer_list<std::string> added) {
  BertTokenizer out;
  std::istringstream lines(read_text(vocabulary));
  int64_t number = 0;
  for (std::string line; std::getline(lines, line); ++number) {
    if (line.ends_with('\r')) line.pop_back();
    out.vocabulary_[line] = number;
  }
  for (const auto& word : added) out.vocabulary_.emplace(word, number++);
  const auto special = [&](const std::string& word) {
    const auto found = out.vocabulary_.find(word);
    if (found == out.vocabulary_.end())
      throw_user_error({.where = vocabulary.string(), .problem = "not BERT's vocabulary", .wanted = "a word a line, among them " + word});
    out.special_.emplace_back(word, found->second);
    return found->second;
  };
  out.unknown_ = special("[UNK]");
  out.start_ = special("[CLS]");
  out.end_ = special("[SEP]");
  for (const char* word : {"[PAD]", "[MASK]"}) special(word);
  for (const auto& word : added) special(word);
  return out;
}

// The longest known piece again and again; "##" begins a piece inside a word.
void BertTokenizer::append_word(std::u32string_view word, std::vector<int64_t>& out) const {
  std::vector<int64_t> pieces;
  for (size_t begin = 0; begin < word.size() && word.size() <= kLongestWord;) {
    size_t end = word.size();
    for (; end > begin; --end) {
      const auto found = vocabulary_.find((begin > 0 ? "##" : "") + encode_utf8(word.substr(begin, end - begin)));
      if (found == vocabulary_.end()) continue;
      pieces.push_back(found->second);
      break;
    }
    if (end == begin) {  // one unknown piece makes the word unknown
      pieces.clear();
      break;
    }
    begin = end;
  }
  if (pieces.empty()) pieces.push_back(unknown_);
  out.insert(out.end(), pieces.begin(), pieces.end());
}

void BertTokenizer::append_words(std::string_view text, std::vector<int64_t>& out) const {
  const auto clean = normalised(text);
  const std::u32string_view all = clean;
  for (size_t i = 0; i < all.size();) {
    size_t end = i + 1;
    if (!is_space(all[i])) {
      if (!is_separate(all[i]))
        while (end < all.size() && !is_space(all[end]) && !is_separate(all[end])) ++end;
      append_word(all.substr(i, end - i), out);
    }
    i = end;
  }
}

std::vector<int64_t> BertTokenizer::tokens(std::string_view text) const {
  std::vector<int64_t> out;
  while (true) {  // what stands between the special words
    size_t first = std::string_view::npos, length = 0;
    int64_t number = 0;
    for (const auto& [word, its_number] : special_)
      if (const auto at = text.find(word); at < first) {
        first = at;
        length = word.size();
        number = its_number;
      }
    append_words(text.substr(0, first), out);
    if (first == std::string_view::npos) return out;
    out.push_back(number);
    text.remove_prefix(first + length);
  }
}

Tensor BertTokenizer::encode(std::string_view text, int64_t longest) const {
  TORCH_CHECK(longest >= 2, "no room for start and end");
  auto numbers = tokens(text);
  numbers.resize(std::min(numbers.size(), static_cast<size_t>(longest - 2)));
  numbers.insert(numbers.begin(), start_);
  numbers.push_back(end_);
  return at::tensor(numbers, at::kLong).unsqueeze(0);
}

}  // namespace resflow::text
