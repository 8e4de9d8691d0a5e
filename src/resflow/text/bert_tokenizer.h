// BERT's uncased WordPiece tokenizer (Devlin et al. 2018; Wu et al. 2016), from the vocabulary alone: vocab.txt, one word a line. It gives the
// numbers that transformers' BertTokenizer gives (release 5), but for about 500 rare characters: its classes of characters are those of
// Unicode 8, ours of 14.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::text {

class BertTokenizer {
 public:
  // `added`: special words that a model put behind the vocabulary, in their order. Throws UserError.
  static BertTokenizer load(const std::filesystem::path& vocabulary, std::initializer_list<std::string> added = {});

  // UTF-8 -> numbers, without start and end. Special words ("[SEP]") in the text are themselves.
  std::vector<int64_t> tokens(std::string_view text) const;
  // Start, text, end; what does not fit into `longest` is cut before the end. No padding. -> int64 [1, L], L at most `longest`
  Tensor encode(std::string_view text, int64_t longest) const;

  int64_t size() const { return static_cast<int64_t>(vocabulary_.size()); }  // with the added words

 private:
  void append_words(std::string_view text, std::vector<int64_t>& out) const;
  void append_word(std::u32string_view word, std::vector<int64_t>& out) const;

  std::unordered_map<std::string, int64_t> vocabulary_;
  std::vector<std::pair<std::string, int64_t>> special_;
  int64_t unknown_ = 0, start_ = 0, end_ = 0;
};

}  // namespace resflow::text
