// CLIP's byte-pair tokenizer, from the files of a Hugging Face folder: vocab.json and merges.txt, or tokenizer.json. It gives the numbers that
// transformers' CLIPTokenizer gives (release 5; no cleaning by `ftfy`).
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::text {

class ClipTokenizer {
 public:
  // `folder` holds vocab.json and merges.txt, else tokenizer.json, and may hold special_tokens_map.json or tokenizer_config.json, which name the
  // padding. Throws UserError.
  static ClipTokenizer load(const std::filesystem::path& folder);

  // UTF-8 -> numbers, without start and end.
  std::vector<int64_t> tokens(std::string_view text) const;
  // Start, text, end, padding; what does not fit is cut before the end. -> int64 [B, length]
  Tensor encode(std::span<const std::string> texts, int64_t length = 77) const;

  int64_t start() const { return start_; }
  int64_t end() const { return end_; }

 private:
  void append_words(std::string_view text, std::vector<int64_t>& out) const;
  void append_word(std::string_view word, std::vector<int64_t>& out) const;
  int64_t number_of(const std::string& symbol) const;

  using Pair = std::pair<std::string, std::string>;
  std::unordered_map<std::string, int64_t> vocabulary_;
  std::map<Pair, int64_t> ranks_;  // the lower, the sooner two symbols are merged
  int64_t start_ = 0, end_ = 0, padding_ = 0;
};

}  // namespace resflow::text
