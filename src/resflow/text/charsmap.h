// SentencePiece's normaliser: a table of character sequences and what stands for them ("nmt_nfkc" and its kin), compiled into every
// SentencePiece model. Applied as Hugging Face's `tokenizers` applies it (normalizers.Precompiled), which is not how SentencePiece does: a short
// grapheme as a whole, by its shortest entry; else character by character.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace resflow::text {

class Charsmap {
 public:
  Charsmap() = default;  // changes nothing
  // blob: the size of a double-array trie (darts-clone) in bytes as uint32, the trie, then strings that end in 0. `where` names the file.
  // Throws UserError.
  Charsmap(std::string_view blob, const std::string& where);

  std::string normalise(std::string_view text) const;

 private:
  // What stands for the shortest entry that `text` starts with; null: there is none.
  const char* find(std::string_view text) const;

  std::vector<uint32_t> trie_;
  std::string strings_;
};

}  // namespace resflow::text
