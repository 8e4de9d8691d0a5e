#include "resflow/text/clip_tokenizer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <sstream>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/core/json.h"
#include "resflow/core/parse_json.h"
#include "resflow/text/unicode.h"

namespace resflow::text {
namespace {

constexpr std::string_view kStart = "<|startoftext|>", kEnd = "<|endoftext|>", kEndOfWord = "</w>";

// Bytes as visible characters (Radford et al. 2019): those of Latin-1 that print stand for themselves, the others for U+0100 and up.
const std::array<std::string, 256>& visible_bytes() {
  static const auto table = [] {
    std::array<std::string, 256> out;
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool prints = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      out[byte] = encode_utf8(std::u32string(1, prints ? byte : next++));
    }
    return out;
  }();
  return table;
}

// NFC, white space as single spaces, lower case.
std::u32string normalised(std::string_view text) {
  std::u32string out;
  for (const char32_t c : compose(decode_utf8(text))) {
    if (!is_space(c)) {
      out += c;
    } else if (out.empty() || out.back() != U' ') {
      out += U' ';
    }
  }
  return lower(out);
}

// Where the word that begins at `begin` ends: 's 't 're 've 'm 'll 'd, letters, one number, or anything else but space.
size_t end_of_word(std::u32string_view text, size_t begin) {
  for (const std::u32string_view contraction : {U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"})
    if (text.substr(begin).starts_with(contraction)) return begin + contraction.size();
  const auto run = [&](const auto& belongs) {
    size_t end = begin;
    while (end < text.size() && belongs(text[end])) ++end;
    return end;
  };
  if (is_letter(text[begin])) return run(is_letter);
  if (is_number(text[begin])) return begin + 1;
  return run([](char32_t c) { return !is_space(c) && !is_letter(c) && !is_number(c); });
}

Json read_json(const std::filesystem::path& path) {
  Json json = parse_json(read_text(path));
  if (json.is_discarded()) throw_user_error({.where = path.string(), .problem = "not JSON"});
  return json;
}

using Pair = std::pair<std::string, std::string>;

// What the files of such a tokenizer hold.
struct BpeFiles {
  std::filesystem::path path;  // of the vocabulary, for the messages
  Json vocabulary;             // word -> number
  std::vector<Pair> merges;    // the first is done first
};

// Two symbols between which a space stands.
Pair merge_of(const std::string& line, size_t rank, const std::filesystem::path& path) {
  const auto space = line.find(' ');
  if (space == std::string::npos || space == 0 || space + 1 == line.size() || line.find(' ', space + 1) != std::string::npos)
    throw_user_error({.where = path.string(), .problem = fmt::format("merge {}", rank), .wanted = "two symbols", .got = "'" + line + "'"});
  return {line.substr(0, space), line.substr(space + 1)};
}

BpeFiles read_words_and_merges(const std::filesystem::path& folder) {
  BpeFiles out{.path = folder / "vocab.json"};
  out.vocabulary = read_json(out.path);
  const auto merges = folder / "merges.txt";
  std::istringstream lines(read_text(merges));
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() || line.starts_with("#version")) continue;
    out.merges.push_back(merge_of(line, out.merges.size(), merges));
  }
  return out;
}

// What transformers 5 writes instead of the two.
BpeFiles read_tokenizer_json(const std::filesystem::path& path) {
  BpeFiles out{.path = path};
  const Json json = read_json(path);
  const Json model = json.is_object() ? json.value("model", Json()) : Json();
  const bool bpe = model.is_object() && model.value("type", Json()) == "BPE" && model.value("end_of_word_suffix", Json()) == kEndOfWord;
  if (!bpe || !model.contains("vocab") || !model.contains("merges") || !model["merges"].is_array())
    throw_user_error({.where = path.string(), .problem = "not CLIP's tokenizer", .wanted = "a model of type BPE whose words end with </w>"});
  out.vocabulary = model["vocab"];
  for (const Json& merge : model["merges"]) {
    const bool two = merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
    if (!two && !merge.is_string())
      throw_user_error({.where = path.string(), .problem = fmt::format("merge {}", out.merges.size()), .wanted = "two symbols", .got = merge.dump()});
    out.merges.push_back(two ? Pair(merge[0].get<std::string>(), merge[1].get<std::string>())
                             : merge_of(merge.get<std::string>(), out.merges.size(), path));
  }
  return out;
}

}  // namespace

ClipTokenizer ClipTokenizer::load(const std::filesystem::path& folder) {
  ClipTokenizer out;
  const bool one_file = !std::filesystem::exists(folder / "vocab.json") && std::filesystem::exists(folder / "tokenizer.json");
  const BpeFiles files = one_file ? read_tokenizer_json(folder / "tokenizer.json") : read_words_and_merges(folder);
  if (!files.vocabulary.is_object())
    throw_user_error({.where = files.path.string(), .problem = "not a vocabulary", .wanted = "an object of words and numbers"});
  for (const auto& [word, number] : files.vocabulary.items()) {
    if (!number.is_number_integer())
      throw_user_error({.where = files.path.string(), .problem = "'" + word + "' has no number", .got = number.dump()});
    out.vocabulary_[word] = number.get<int64_t>();
  }
  const auto special = [&](std::string_view word) {
    const auto found = out.vocabulary_.find(std::string(word));
    if (found == out.vocabulary_.end())
      throw_user_error({.where = files.path.string(), .problem = "not CLIP's vocabulary", .wanted = "a word " + std::string(word)});
    return found->second;
  };
  out.start_ = special(kStart);
  out.end_ = out.padding_ = special(kEnd);
  for (size_t i = 0; i < files.merges.size(); ++i) out.ranks_.emplace(files.merges[i], static_cast<int64_t>(i));
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {  // new folders have the first alone; the second is the older
    const auto path = folder / name;
    if (!std::filesystem::exists(path)) continue;
    const Json json = read_json(path);
    if (!json.is_object() || !json.contains("pad_token")) continue;
    const Json& padding = json["pad_token"];
    const Json& word = padding.is_object() && padding.contains("content") ? padding["content"] : padding;
    if (word.is_string()) out.padding_ = special(word.get<std::string>());
  }
  return out;
}

int64_t ClipTokenizer::number_of(const std::string& symbol) const {
  const auto found = vocabulary_.find(symbol);
  return found == vocabulary_.end() ? end_ : found->second;  // the unknown is the end
}

void ClipTokenizer::append_word(std::string_view word, std::vector<int64_t>& out) const {
  std::vector<std::string> symbols;
  for (const char byte : word) symbols.push_back(visible_bytes()[static_cast<unsigned char>(byte)]);
  symbols.back() += kEndOfWord;
  while (symbols.size() > 1) {
    constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
    int64_t best = kNever;
    size_t place = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks_.find({symbols[i], symbols[i + 1]});
      if (found != ranks_.end() && found->second < best) {
        best = found->second;
        place = i;
      }
    }
    if (best == kNever) break;
    symbols[place] += symbols[place + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
  for (const auto& symbol : symbols) out.push_back(number_of(symbol));
}

void ClipTokenizer::append_words(std::string_view text, std::vector<int64_t>& out) const {
  const auto clean = normalised(text);
  for (size_t i = 0; i < clean.size();) {
    if (is_space(clean[i])) {
      ++i;
      continue;
    }
    const size_t end = end_of_word(clean, i);
    append_word(encode_utf8(std::u32string_view(clean).substr(i, end - i)), out);
    i = end;
  }
}

std::vector<int64_t> ClipTokenizer::tokens(std::string_view text) const {
  std::vector<int64_t> out;
  while (true) {  // what stands between the special words
    const size_t start = text.find(kStart), end = text.find(kEnd), first = std::min(start, end);
    append_words(text.substr(0, first), out);
    if (first == std::string_view::npos) return out;
    out.push_back(start < end ? start_ : end_);
    text.remove_prefix(first + (start < end ? kStart : kEnd).size());
  }
}

Tensor ClipTokenizer::encode(std::span<const std::string> texts, int64_t length) const {
  TORCH_CHECK(length >= 2, "no room for start and end");
  const Tensor out = at::full({static_cast<int64_t>(texts.size()), length}, padding_, at::kLong);
  for (size_t row = 0; row < texts.size(); ++row) {
    auto numbers = tokens(texts[row]);
    numbers.resize(std::min(numbers.size(), static_cast<size_t>(length - 2)));
    numbers.insert(numbers.begin(), start_);
    numbers.push_back(end_);
    std::copy(numbers.begin(), numbers.end(), out.data_ptr<int64_t>() + static_cast<int64_t>(row) * length);
  }
  return out;
}

}  // namespace resflow::text
