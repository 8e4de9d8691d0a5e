#include "resflow/text/t5_tokenizer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "resflow/core/error.h"
#include "resflow/text/unicode.h"

namespace resflow::text {
namespace {

constexpr std::string_view kSpace = "\u2581";  // what SentencePiece writes for a space
constexpr int kSentinels = 100;

UnigramVocabulary with_sentinels(UnigramVocabulary in) {
  if (std::find(in.pieces.begin(), in.pieces.end(), "<extra_id_0>") != in.pieces.end()) return in;
  for (int i = kSentinels - 1; i >= 0; --i) {
    in.pieces.push_back(fmt::format("<extra_id_{}>", i));
    in.scores.push_back(0);
  }
  return in;
}

Unigram model_of(UnigramVocabulary in) { return {std::move(in.pieces), std::move(in.scores), in.unknown}; }

}  // namespace

T5Tokenizer::T5Tokenizer(UnigramVocabulary vocabulary, const std::string& where)
    : charsmap_(vocabulary.charsmap, where), model_(model_of(with_sentinels(std::move(vocabulary)))) {
  const auto add = [&](const std::string& piece) {
    const int64_t number = model_.number_of(piece);
    if (number >= 0) special_.emplace_back(piece, number);
    return number;
  };
  padding_ = add("<pad>");
  end_ = add("</s>");
  if (padding_ < 0 || end_ < 0 || add("<unk>") < 0)
    throw_user_error({.where = where, .problem = "not T5's vocabulary", .wanted = "the pieces <pad>, </s> and <unk>"});
  for (int i = 0; i < kSentinels; ++i) add(fmt::format("<extra_id_{}>", i));
}

T5Tokenizer T5Tokenizer::load(const std::filesystem::path& path) {
  std::filesystem::path file = path;
  if (std::filesystem::is_directory(path)) file = std::filesystem::exists(path / "tokenizer.json") ? path / "tokenizer.json" : path / "spiece.model";
  return {file.extension() == ".json" ? read_tokenizer_json(file) : read_sentencepiece(file), file.string()};
}

std::vector<int64_t> T5Tokenizer::tokens(std::string_view text) const {
  std::vector<int64_t> out;
  while (!text.empty()) {
    size_t place = std::string_view::npos;  // of the first special piece
    const std::pair<std::string, int64_t>* special = nullptr;
    for (const auto& candidate : special_) {
      const size_t found = text.find(candidate.first);
      if (found < place) place = found, special = &candidate;
    }
    append_plain(text.substr(0, place), out);
    if (special == nullptr) break;
    out.push_back(special->second);
    text.remove_prefix(place + special->first.size());
  }
  return out;
}

void T5Tokenizer::append_plain(std::string_view text, std::vector<int64_t>& out) const {
  const std::u32string characters = decode_utf8(charsmap_.normalise(text));
  const char32_t space = decode_utf8(kSpace)[0];
  std::u32string word;
  const auto finish = [&] {
    if (!word.empty()) model_.append(encode_utf8(word), out);
    word.clear();
  };
  bool inside = false;
  for (const char32_t c : characters) {
    if (is_space(c)) {
      finish();
      inside = false;
      continue;
    }
    if (c == space) finish();  // the sign itself, in a text, starts a word as a space does
    if (!inside && c != space) word.push_back(space);
    word.push_back(c);
    inside = true;
  }
  finish();
}

Tensor T5Tokenizer::encode(std::span<const std::string> texts, int64_t length) const {
  const Tensor out = at::full({static_cast<int64_t>(texts.size()), length}, padding_, at::kLong);
  for (size_t i = 0; i < texts.size(); ++i) {
    auto numbers = tokens(texts[i]);
    numbers.resize(std::min(numbers.size(), static_cast<size_t>(length - 1)));
    numbers.push_back(end_);
    std::copy(numbers.begin(), numbers.end(), out.data_ptr<int64_t>() + static_cast<int64_t>(i) * length);
  }
  return out;
}

}  // namespace resflow::text
