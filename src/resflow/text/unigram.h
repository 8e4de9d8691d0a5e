// SentencePiece's Unigram model (Kudo 2018): pieces with log-probabilities; a word is cut where their sum is largest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace resflow::text {

// What the files of such a tokenizer hold.
struct UnigramVocabulary {
  std::vector<std::string> pieces;  // by number
  std::vector<double> scores;
  int64_t unknown = 0;
  std::string charsmap;  // Charsmap's blob; empty: text stays as it is
};

// SentencePiece's own file (spiece.model, a protobuf). Throws UserError.
UnigramVocabulary read_sentencepiece(const std::filesystem::path& path);
// Hugging Face's tokenizer.json with a model of type Unigram. Throws UserError.
UnigramVocabulary read_tokenizer_json(const std::filesystem::path& path);

class Unigram {
 public:
  Unigram(std::vector<std::string> pieces, std::vector<double> scores, int64_t unknown);
  Unigram(Unigram&&) = default;  // no copies: the numbers are found by views of the pieces

  // The most probable cut of a word in UTF-8. Neighbouring characters that no piece covers are one unknown.
  void append(std::string_view word, std::vector<int64_t>& out) const;
  // -1: no such piece
  int64_t number_of(std::string_view piece) const;

  int64_t size() const { return static_cast<int64_t>(pieces_.size()); }

 private:
  std::vector<std::string> pieces_;
  std::vector<double> scores_;
  std::unordered_map<std::string_view, int64_t> numbers_;  // views of pieces_
  size_t longest_ = 0;                                     // bytes
  int64_t unknown_;
  double unknown_score_ = 0;
};

}  // namespace resflow::text
