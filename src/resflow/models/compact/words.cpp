#include "resflow/models/compact/words.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <vector>

namespace resflow::models {
namespace {

struct Spelling {
  std::string_view stem;  // what a word begins with
  Flaw flaw;
};
constexpr Spelling kFlawWords[] = {
    {"blur", Flaw::blur},          {"unsharp", Flaw::blur},         {"defocus", Flaw::blur},
    {"nois", Flaw::noise},         {"grain", Flaw::noise},          {"compress", Flaw::compression},
    {"jpeg", Flaw::compression},   {"artifact", Flaw::compression}, {"artefact", Flaw::compression},
    {"blocky", Flaw::compression},
};

struct Degree {
  std::string_view word;  // the whole of it
  Said said;
};
constexpr Degree kDegrees[] = {
    {"no", Said::none},        {"not", Said::none},    {"without", Said::none},  {"hardly", Said::none},     {"slight", Said::some},
    {"slightly", Said::some},  {"some", Said::some},   {"mild", Said::some},     {"mildly", Said::some},     {"light", Said::some},
    {"lightly", Said::some},   {"little", Said::some}, {"strong", Said::strong}, {"strongly", Said::strong}, {"heavy", Said::strong},
    {"heavily", Said::strong}, {"very", Said::strong}, {"much", Said::strong},   {"severe", Said::strong},   {"severely", Said::strong},
};

std::vector<std::string> lower_words(std::string_view text) {
  std::vector<std::string> out;
  bool inside = false;
  for (const char c : text) {
    const bool letter = std::isalpha(static_cast<unsigned char>(c)) != 0;
    if (letter && !inside) out.emplace_back();
    if (letter) out.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (!letter && c != ' ' && c != '-') out.emplace_back();  // a degree does not reach beyond a comma
    inside = letter;
  }
  return out;
}

}  // namespace

Words words_of(std::string_view caption) {
  Words out{};
  std::optional<Said> degree;
  for (const auto& word : lower_words(caption)) {
    const auto* found = std::ranges::find(kDegrees, std::string_view(word), &Degree::word);
    if (found != std::end(kDegrees)) {
      degree = found->said;
      continue;
    }
    const auto* flaw = std::ranges::find_if(kFlawWords, [&](const Spelling& known) { return word.starts_with(known.stem); });
    if (flaw != std::end(kFlawWords))
      out[static_cast<size_t>(flaw->flaw)] = degree.value_or(Said::some);
    else
      degree.reset();
  }
  return out;
}

std::string text_of(const Words& words) {
  constexpr std::string_view kNames[] = {"blur", "noise", "compression"}, kBefore[] = {"", "no ", "", "strong "};
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == Said::nothing) continue;
    if (!out.empty()) out += ", ";
    out += kBefore[static_cast<size_t>(words[i])];
    out += kNames[i];
  }
  return out;
}

Tensor word_numbers(const Words& words) {
  std::vector<int64_t> out;
  for (size_t i = 0; i < words.size(); ++i) out.push_back(static_cast<int64_t>(i) * kSaid + static_cast<int64_t>(words[i]));
  return at::tensor(out, at::kLong);
}

}  // namespace resflow::models
