// Runs tokenizers and text towers on files, so that the Python tests can compare them with other implementations.
//   text_probe bpe FOLDER TEXTS.json LENGTH OUT.safetensors     "tokens" [B, LENGTH]; LENGTH 0: as many as each has, the rest -1
//   text_probe wordpiece VOCAB.txt TEXTS.json LENGTH OUT.safetensors     the same, with [DEC] and [ENC] added; -1 is the padding of both
//   text_probe t5 TOKENIZER TEXTS.json LENGTH OUT.safetensors   the same
//   text_probe t5-encoder MODEL IN.safetensors OUT.safetensors  "tokens" -> last
//   text_probe unicode TEXTS.json OUT.json                      [[lower, NFC, NFD], ...]
//   text_probe clip MODEL IN.safetensors OUT.safetensors        "tokens" -> last, pooled, hidden.N, embedding (where there is a projection)
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "resflow/core/files.h"
#include "resflow/core/json.h"
#include "resflow/text/bert_tokenizer.h"
#include "resflow/text/clip_text.h"
#include "resflow/text/clip_tokenizer.h"
#include "resflow/text/t5_encoder.h"
#include "resflow/text/t5_tokenizer.h"
#include "resflow/text/unicode.h"
#include "resflow/weights/safetensors.h"

using namespace resflow;
using weights::TensorFile;
using Arguments = std::vector<std::string>;
using Outputs = std::vector<std::pair<std::string, Tensor>>;

namespace {

std::vector<std::string> read_texts(const std::string& path) { return Json::parse(read_text(path)).get<std::vector<std::string>>(); }

Tensor padded(const std::vector<std::vector<int64_t>>& rows) {
  size_t longest = 0;
  for (const auto& row : rows) longest = std::max(longest, row.size());
  const Tensor out = at::full({static_cast<int64_t>(rows.size()), static_cast<int64_t>(longest)}, -1, at::kLong);
  for (size_t i = 0; i < rows.size(); ++i) std::copy(rows[i].begin(), rows[i].end(), out.data_ptr<int64_t>() + i * longest);
  return out;
}

template <class Tokenizer>
void tokenize(const Arguments& args) {
  const auto tokenizer = Tokenizer::load(args.at(1));
  const auto texts = read_texts(args.at(2));
  const int64_t length = std::stoll(args.at(3));
  std::vector<std::vector<int64_t>> rows;
  for (const auto& text : texts) rows.push_back(tokenizer.tokens(text));
  weights::write_safetensors(args.at(4), {{"tokens", length > 0 ? tokenizer.encode(texts, length) : padded(rows)}});
}

void wordpiece(const Arguments& args) {
  const auto tokenizer = text::BertTokenizer::load(args.at(1), {"[DEC]", "[ENC]"});
  const int64_t length = std::stoll(args.at(3));
  std::vector<std::vector<int64_t>> rows;
  for (const auto& text : read_texts(args.at(2))) {
    rows.push_back(tokenizer.tokens(text));
    if (length == 0) continue;
    const Tensor encoded = tokenizer.encode(text, length);
    rows.back().assign(encoded.const_data_ptr<int64_t>(), encoded.const_data_ptr<int64_t>() + encoded.numel());
  }
  weights::write_safetensors(args.at(4), {{"tokens", padded(rows)}});
}

void t5_encoder(const Arguments& args) {
  const text::T5Encoder model(TensorFile::open(args.at(1)));
  weights::write_safetensors(args.at(3), {{"last", model.forward(TensorFile::open(args.at(2)).get("tokens"))}});
}

void unicode(const Arguments& args) {
  Json out = Json::array();
  for (const auto& line : read_texts(args.at(1))) {
    const auto text = text::decode_utf8(line);
    out.push_back({text::encode_utf8(text::lower(text)), text::encode_utf8(text::compose(text)), text::encode_utf8(text::decompose(text))});
  }
  write_text_atomically(args.at(2), out.dump());
}

void clip(const Arguments& args) {
  const text::ClipTextModel model(text::ClipFile::open(args.at(1)));
  const Tensor tokens = TensorFile::open(args.at(2)).get("tokens");
  const auto found = model.forward(tokens);
  Outputs out = {{"last", found.last}, {"pooled", found.pooled}};
  for (size_t i = 0; i < found.hidden.size(); ++i) out.emplace_back(fmt::format("hidden.{}", i), found.hidden[i]);
  if (model.has_projection()) out.emplace_back("embedding", model.embed(tokens));
  weights::write_safetensors(args.at(3), out);
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, void (*)(const Arguments&)> commands = {{"bpe", tokenize<text::ClipTokenizer>},
                                                                      {"t5", tokenize<text::T5Tokenizer>},
                                                                      {"t5-encoder", t5_encoder},
                                                                      {"wordpiece", wordpiece},
                                                                      {"unicode", unicode},
                                                                      {"clip", clip}};
  try {
    const Arguments args(argv + 1, argv + argc);
    commands.at(args.at(0))(args);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
