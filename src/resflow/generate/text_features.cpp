#include "resflow/generate/text_features.h"

#include <fmt/format.h>

namespace resflow::generate {
namespace {

// Numbers of a text that no length cuts, with start and end.
std::string cut_note(const char* encoder, size_t wanted, int64_t fit) {
  return fmt::format("{} reads the first {} of the text's {} tokens", encoder, fit, wanted);
}

Tensor pooled_of(const ClipText& clip, const std::string& prompt, std::vector<std::string>& notes) {
  if (const auto count = clip.count(prompt); count > static_cast<size_t>(clip.length())) notes.push_back(cut_note("CLIP", count, clip.length()));
  return clip.encode(std::span(&prompt, 1)).pooled;
}

Tensor tokens_of(const T5Text& t5, const std::string& prompt, int64_t length, std::vector<std::string>& notes) {
  if (const auto count = t5.count(prompt); count > static_cast<size_t>(length)) notes.push_back(cut_note("T5", count, length));
  return t5.encode(std::span(&prompt, 1), length);
}

}  // namespace

TextFeatures encode_text(const ModelFolder& model, const std::string& prompt, int64_t length, const TextPlace& place, const Job& job,
                         TextEncoders* kept) {
  TextFeatures out;
  TextEncoders own;
  TextEncoders& encoders = kept != nullptr ? *kept : own;
  const bool keep = kept != nullptr && place.offload == Offload::none;
  job.throw_if_stopped();
  if (!encoders.clip) {
    const TextEncoderFiles files{.encoder = model.part("text_encoder"), .tokenizer = model.part("tokenizer")};
    encoders.clip = std::make_unique<ClipText>(files, place.device, c10::kFloat);
  }
  out.pooled = pooled_of(*encoders.clip, prompt, out.notes);
  if (!keep) encoders.clip.reset();
  job.throw_if_stopped();
  if (!encoders.t5) {
    const TextEncoderFiles files{.encoder = model.part("text_encoder_2"), .tokenizer = model.part("tokenizer_2"), .weights = place.t5};
    encoders.t5 = std::make_unique<T5Text>(files, place.device, place.dtype, place.offload);
  }
  out.tokens = tokens_of(*encoders.t5, prompt, length, out.notes);
  if (!keep) encoders.t5.reset();
  return out;
}

}  // namespace resflow::generate
