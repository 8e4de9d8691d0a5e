// T5's tokenizer (Raffel et al. 2020): SentencePiece's Unigram with 100 sentinels behind the vocabulary. It gives the numbers that
// transformers' T5Tokenizer gives (release 5, which diffusers' FLUX pipelines use).
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "resflow/core/tensor.h"
#include "resflow/text/charsmap.h"
#include "resflow/text/unigram.h"

namespace resflow::text {

class T5Tokenizer {
 public:
  // A folder with tokenizer.json or spiece.model (a FLUX folder's tokenizer_2), or either file. Throws UserError.
  static T5Tokenizer load(const std::filesystem::path& path);
  // From what a file holds; the sentinels are added where they are missing. `where` names the file in errors.
  T5Tokenizer(UnigramVocabulary vocabulary, const std::string& where);

  // UTF-8 -> numbers, without the end. Special pieces ("</s>", "<extra_id_0>") in the text are themselves.
  std::vector<int64_t> tokens(std::string_view text) const;
  // Text, end, padding; what does not fit is cut before the end. FLUX attends to the padding, so that the length changes the picture:
  // 512 for FLUX.1-dev. -> int64 [B, length]
  Tensor encode(std::span<const std::string> texts, int64_t length = 512) const;

  int64_t size() const { return model_.size(); }  // with the sentinels

 private:
  void append_plain(std::string_view text, std::vector<int64_t>& out) const;

  Charsmap charsmap_;
  Unigram model_;
  std::vector<std::pair<std::string, int64_t>> special_;
  int64_t end_ = 0, padding_ = 0;
};

}  // namespace resflow::text
