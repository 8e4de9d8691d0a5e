#include "resflow/generate/text_features.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/config_file.h"
#include "resflow/generate/part_weights.h"
#include "resflow/text/clip_text.h"
#include "resflow/text/clip_tokenizer.h"
#include "resflow/text/t5_encoder.h"
#include "resflow/text/t5_tokenizer.h"

namespace resflow::generate {
namespace {

// transformers' text_encoder_2/config.json: what T5Encoder takes for granted, and what must agree with the tensors. Defaults are T5Config's own.
struct T5Config {
  std::string feed_forward_proj = "relu";
  double layer_norm_epsilon = 1e-6;
  int64_t relative_attention_max_distance = 128, relative_attention_num_buckets = 32;
  int64_t d_model = 512, d_kv = 64, d_ff = 2048, num_heads = 8, num_layers = 6, vocab_size = 32128;

  void check(const text::T5Shape& shape, const std::string& where) const {
    const auto same = [&](const char* name, int64_t told, int64_t found) {
      if (told != found)
        throw_user_error(
            {.where = where, .problem = std::string(name) + " is not the weights'", .wanted = std::to_string(found), .got = std::to_string(told)});
    };
    same("d_model", d_model, shape.width);
    same("d_kv", d_kv, shape.head_width);
    same("d_ff", d_ff, shape.inner);
    same("num_heads", num_heads, shape.heads);
    same("num_layers", num_layers, shape.layers);
    same("vocab_size", vocab_size, shape.vocabulary);
    same("relative_attention_num_buckets", relative_attention_num_buckets, shape.buckets);
  }

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("feed_forward_proj", o.feed_forward_proj, "The network between the attentions", OneOf{{"gated-gelu"}});
    visit("layer_norm_epsilon", o.layer_norm_epsilon, "Of the norms", Range{1e-6, 1e-6});
    visit("relative_attention_max_distance", o.relative_attention_max_distance, "Farthest position that is told apart", Range{128, 128});
    visit("relative_attention_num_buckets", o.relative_attention_num_buckets, "Positions that are told apart", Range{4, 1024});
    visit("d_model", o.d_model, "Width", Range{1, 65536});
    visit("d_kv", o.d_kv, "Width of a head", Range{1, 65536});
    visit("d_ff", o.d_ff, "Width inside the network", Range{1, 1e6});
    visit("num_heads", o.num_heads, "Attention heads", Range{1, 1024});
    visit("num_layers", o.num_layers, "Blocks", Range{1, 1024});
    visit("vocab_size", o.vocab_size, "Tokens that are known", Range{1, 1e7});
  }
};

// Numbers of a text that no length cuts, with start and end.
std::string cut_note(const char* encoder, size_t wanted, int64_t fit) {
  return fmt::format("{} reads the first {} of the text's {} tokens", encoder, fit, wanted);
}

Tensor pooled_of(const ModelFolder& model, const std::string& prompt, c10::Device device, std::vector<std::string>& notes) {
  const auto tokenizer = text::ClipTokenizer::load(model.part("tokenizer"));
  text::ClipTextModel encoder(text::ClipFile::open(model.part("text_encoder")));
  if (device.type() != c10::kCPU) encoder.to(device, at::kFloat);
  const int64_t length = encoder.context();
  if (const auto count = tokenizer.tokens(prompt).size() + 2; count > static_cast<size_t>(length)) notes.push_back(cut_note("CLIP", count, length));
  return encoder.forward(tokenizer.encode(std::span(&prompt, 1), length).to(device)).pooled;
}

Tensor tokens_of(const ModelFolder& model, const std::string& prompt, int64_t length, const TextPlace& place, std::vector<std::string>& notes) {
  const auto tokenizer = text::T5Tokenizer::load(model.part("tokenizer_2"));
  const auto folder = model.part("text_encoder_2");
  const auto config = read_config<T5Config>(folder / "config.json");
  const auto file = weights::TensorFile::open(place.t5.empty() ? folder : place.t5);
  const auto dtype = place.dtype == at::kHalf ? at::kFloat : place.dtype;
  const text::T5Encoder encoder(file, "", conversion_of(file, place.device, dtype));
  config.check(encoder.shape(), (folder / "config.json").string());
  if (tokenizer.size() > encoder.shape().vocabulary)
    throw_user_error({.where = model.part("tokenizer_2").string(),
                      .problem = "the tokenizer knows more tokens than the encoder",
                      .wanted = fmt::format("{} at most", encoder.shape().vocabulary),
                      .got = std::to_string(tokenizer.size())});
  if (const auto count = tokenizer.tokens(prompt).size() + 1; count > static_cast<size_t>(length)) notes.push_back(cut_note("T5", count, length));
  return encoder.forward(tokenizer.encode(std::span(&prompt, 1), length).to(place.device));
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
