#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "resflow/core/base64.h"
#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/core/json.h"
#include "resflow/text/unigram.h"

namespace resflow::text {
namespace {

[[noreturn]] void damaged(const std::filesystem::path& path, std::string got, std::string wanted) {
  throw_user_error({.where = path.string(), .problem = "not a Unigram tokenizer", .wanted = std::move(wanted), .got = std::move(got)});
}

// Protocol buffers' wire format, as much of it as a SentencePiece model uses.
class Message {
 public:
  Message(std::string_view bytes, const std::filesystem::path& path) : bytes_(bytes), path_(path) {}

  // Goes to the next field; false at the end.
  bool next() {
    if (bytes_.empty()) return false;
    const uint64_t key = varint();
    field = key >> 3;
    switch (key & 7) {
      case 0:
        number = varint();
        break;
      case 1:
        contents = take(8);
        break;
      case 2:
        contents = take(varint());
        break;
      case 5:
        contents = take(4);
        break;
      default:
        damaged(path_, fmt::format("wire type {}", key & 7), "a SentencePiece model");
    }
    return true;
  }
  float real() const {
    float out = 0;
    if (contents.size() != sizeof(out)) damaged(path_, fmt::format("a score of {} bytes", contents.size()), "4");
    std::memcpy(&out, contents.data(), sizeof(out));
    return out;
  }

  uint64_t field = 0, number = 0;
  std::string_view contents;

 private:
  uint64_t varint() {
    uint64_t out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      out |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return out;
    }
    damaged(path_, "a number of more than 64 bits", "a SentencePiece model");
  }
  std::string_view take(uint64_t count) {
    if (count > bytes_.size()) damaged(path_, "an end in the middle of a field", "a SentencePiece model");
    const auto out = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return out;
  }

  std::string_view bytes_;
  const std::filesystem::path& path_;
};

UnigramVocabulary checked(UnigramVocabulary out, const std::filesystem::path& path) {
  if (out.pieces.empty()) damaged(path, "no pieces", "a vocabulary");
  if (out.unknown < 0 || out.unknown >= static_cast<int64_t>(out.pieces.size()))
    damaged(path, fmt::format("unknown piece {} of {}", out.unknown, out.pieces.size()), "the number of a piece");
  for (const double score : out.scores)
    if (!std::isfinite(score)) damaged(path, "a score that is not finite", "log-probabilities");
  return out;
}

}  // namespace

UnigramVocabulary read_sentencepiece(const std::filesystem::path& path) {
  const std::string bytes = read_text(path);
  UnigramVocabulary out;
  uint64_t model_type = 1;
  for (Message model(bytes, path); model.next();) {
    Message part(model.contents, path);
    if (model.field == 1) {  // a piece
      out.scores.push_back(0);
      out.pieces.emplace_back();
      while (part.next()) {
        if (part.field == 1) out.pieces.back() = part.contents;
        if (part.field == 2) out.scores.back() = part.real();
        if (part.field == 3 && part.number == 2) out.unknown = static_cast<int64_t>(out.pieces.size()) - 1;
      }
    } else if (model.field == 2) {  // how it was trained
      while (part.next())
        if (part.field == 3) model_type = part.number;
    } else if (model.field == 3) {  // the normaliser
      while (part.next())
        if (part.field == 2) out.charsmap = part.contents;
    }
  }
  if (model_type != 1) damaged(path, fmt::format("a SentencePiece model of type {}", model_type), "type 1, Unigram");
  return checked(std::move(out), path);
}

UnigramVocabulary read_tokenizer_json(const std::filesystem::path& path) {
  UnigramVocabulary out;
  try {
    const Json file = Json::parse(read_text(path));
    const Json& model = file.at("model");
    if (model.value("type", "Unigram") != "Unigram") damaged(path, model.at("type").get<std::string>(), "a model of type Unigram");
    out.unknown = model.at("unk_id").get<int64_t>();
    for (const auto& entry : model.at("vocab")) {
      out.pieces.push_back(entry.at(0).get<std::string>());
      out.scores.push_back(entry.at(1).get<double>());
    }
    const Json normaliser = file.value("normalizer", Json());
    const Json steps = normaliser.is_object() && normaliser.contains("normalizers") ? normaliser.at("normalizers") : Json::array({normaliser});
    for (const auto& step : steps) {
      if (!step.is_object() || step.value("type", "") != "Precompiled") continue;
      const auto blob = decode_base64(step.at("precompiled_charsmap").get<std::string>());
      if (!blob) damaged(path, "a precompiled_charsmap that is not base64", "base64");
      out.charsmap = *blob;
    }
  } catch (const Json::exception& error) {
    damaged(path, error.what(), "Hugging Face's tokenizer.json");
  }
  return checked(std::move(out), path);
}

}  // namespace resflow::text
