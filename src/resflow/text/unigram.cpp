#include "resflow/text/unigram.h"

#include <algorithm>
#include <limits>

namespace resflow::text {

Unigram::Unigram(std::vector<std::string> pieces, std::vector<double> scores, int64_t unknown)
    : pieces_(std::move(pieces)), scores_(std::move(scores)), unknown_(unknown) {
  constexpr double kUnknownPenalty = 10;  // below the rarest piece; SentencePiece's constant
  unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
  for (size_t i = 0; i < pieces_.size(); ++i) {
    numbers_.insert_or_assign(pieces_[i], static_cast<int64_t>(i));
    longest_ = std::max(longest_, pieces_[i].size());
  }
}

int64_t Unigram::number_of(std::string_view piece) const {
  const auto found = numbers_.find(piece);
  return found == numbers_.end() ? -1 : found->second;
}

void Unigram::append(std::string_view word, std::vector<int64_t>& out) const {
  struct Node {
    double score = -std::numeric_limits<double>::infinity();
    size_t start = 0;
    int64_t piece = 0;
  };
  const auto starts_character = [&](size_t i) { return i == word.size() || (static_cast<unsigned char>(word[i]) & 0xc0) != 0x80; };
  std::vector<Node> best(word.size() + 1);  // of the paths that end before a byte
  best[0].score = 0;
  for (size_t begin = 0; begin < word.size(); ++begin) {
    if (!starts_character(begin)) continue;
    const auto reach = [&](size_t end, double score, int64_t piece) {
      if (best[begin].score + score > best[end].score) best[end] = {best[begin].score + score, begin, piece};
    };
    bool first = true;  // up to the first character's end
    for (size_t end = begin + 1; end <= word.size() && end - begin <= std::max<size_t>(longest_, 4); ++end) {
      if (!starts_character(end)) continue;
      const int64_t piece = number_of(word.substr(begin, end - begin));
      if (piece >= 0) reach(end, scores_[static_cast<size_t>(piece)], piece);
      if (piece < 0 && first) reach(end, unknown_score_, unknown_);
      first = false;
    }
  }
  std::vector<int64_t> reversed;
  for (size_t end = word.size(); end > 0; end = best[end].start)
    if (best[end].piece != unknown_ || reversed.empty() || reversed.back() != unknown_) reversed.push_back(best[end].piece);
  out.insert(out.end(), reversed.rbegin(), reversed.rend());
}

}  // namespace resflow::text
