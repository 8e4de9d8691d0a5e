#include "resflow/generate/text_features.h"

#include <fmt/format.h>

#include "resflow/generate/text_encoder.h"

namespace resflow::generate {
namespace {

// Numbers of a text that no length cuts, with start and end.
std::string cut_note(const char* encoder, size_t wanted, int64_t fit) {
  return fmt::format("{} reads the first {} of the text's {} tokens", encoder, fit, wanted);
}

Tensor pooled_of(const ModelFolder& model, const std::string& prompt, c10::Device device, std::vector<std::string>& notes) {
  const ClipText clip({.encoder = model.part("text_encoder"), .tokenizer = model.part("tokenizer")}, device, c10::kFloat);
  if (const auto count = clip.count(prompt); count > static_cast<size_t>(clip.length())) notes.push_back(cut_note("CLIP", count, clip.length()));
  return clip.encode(std::span(&prompt, 1)).pooled;
}

Tensor tokens_of(const ModelFolder& model, const std::string& prompt, int64_t length, const TextPlace& place, std::vector<std::string>& notes) {
  const TextEncoderFiles files{.encoder = model.part("text_encoder_2"), .tokenizer = model.part("tokenizer_2"), .weights = place.t5};
  const T5Text t5(files, place.device, place.dtype);
  if (const auto count = t5.count(prompt); count > static_cast<size_t>(length)) notes.push_back(cut_note("T5", count, length));
  return t5.encode(std::span(&prompt, 1), length);
}

}  // namespace

TextFeatures encode_text(const ModelFolder& model, const std::string& prompt, int64_t length, const TextPlace& place, const Job& job) {
  TextFeatures out;
  job.throw_if_stopped();
  out.pooled = pooled_of(model, prompt, place.device, out.notes);
  job.throw_if_stopped();
  out.tokens = tokens_of(model, prompt, length, place, out.notes);
  return out;
}

}  // namespace resflow::generate
