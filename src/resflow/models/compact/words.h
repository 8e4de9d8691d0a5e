// The words that the compact model may know: what is wrong with a picture, and how much. Its text tokens, one a property.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "resflow/core/tensor.h"

namespace resflow::models {

// In the order of the tokens.
enum class Flaw { blur, noise, compression };
inline constexpr int64_t kFlaws = 3;

// How much of it a text says that there is.
enum class Said : int64_t { nothing, none, some, strong };
inline constexpr int64_t kSaid = 4;

using Words = std::array<Said, kFlaws>;

// What a caption says, in English: a flaw's name ("blurred", "grain", "JPEG artifacts", ...) with, before it, "no", "slight", "strong" or their like;
// the name alone says some. Of a flaw that is named twice the last counts. Whatever else stands there is passed over.
Words words_of(std::string_view caption);

// As words_of() reads it back: "no blur, noise, strong compression"; empty where nothing is said.
std::string text_of(const Words& words);

// Rows of a table of kFlaws kSaid vectors. -> int64 [kFlaws]
Tensor word_numbers(const Words& words);

}  // namespace resflow::models
