// The two encoders of texts that FLUX has, each with its tokenizer: T5 and CLIP.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "resflow/generate/memory.h"
#include "resflow/text/clip_text.h"
#include "resflow/text/clip_tokenizer.h"
#include "resflow/text/t5_encoder.h"
#include "resflow/text/t5_tokenizer.h"

namespace resflow::generate {

struct TextEncoderFiles {
  std::filesystem::path encoder;    // a folder with config.json and weights, or one file of weights
  std::filesystem::path tokenizer;  // as T5Tokenizer::load() and ClipTokenizer::load() take it
  std::filesystem::path weights;    // T5: others than the folder's; empty: the folder's
};

class T5Text {
 public:
  // Computes in `dtype` on `device`; float16, which T5 does not fit, becomes float32. Offload::stream: its blocks come there in turns. A folder's
  // configuration must be T5 v1.1's and agree with the tensors. Throws UserError.
  T5Text(const TextEncoderFiles& files, c10::Device device, c10::ScalarType dtype, Offload mode = Offload::none);

  // -> the last hidden state, [B, length, D], padding included
  Tensor encode(std::span<const std::string> texts, int64_t length) const;
  // Tokens of a text with its end, when no length cuts it.
  size_t count(const std::string& text) const { return tokenizer_.tokens(text).size() + 1; }

 private:
  c10::Device device_;
  text::T5Tokenizer tokenizer_;
  std::unique_ptr<text::T5Encoder> encoder_;
};

class ClipText {
 public:
  // Computes in `dtype` on `device`. Throws UserError.
  ClipText(const TextEncoderFiles& files, c10::Device device, c10::ScalarType dtype);

  // Over the whole length() of tokens: `last` [B, L, D], `pooled` [B, D].
  text::ClipTextOutput encode(std::span<const std::string> texts) const;
  // Tokens of a text with its start and end, when no length cuts it.
  size_t count(const std::string& text) const { return tokenizer_.tokens(text).size() + 2; }
  int64_t length() const { return encoder_.context(); }

 private:
  c10::Device device_;
  text::ClipTokenizer tokenizer_;
  text::ClipTextModel encoder_;
};

}  // namespace resflow::generate
