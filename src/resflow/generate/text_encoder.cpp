#include "resflow/generate/text_encoder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/config_file.h"
#include "resflow/generate/part_weights.h"

namespace resflow::generate {
namespace {

namespace fs = std::filesystem;

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

weights::TensorFile weights_of(const TextEncoderFiles& files) {
  return weights::TensorFile::open(files.weights.empty() ? files.encoder : files.weights);
}

std::unique_ptr<text::T5Encoder> t5_of(const weights::TensorFile& file, c10::Device device, c10::ScalarType dtype, Offload mode) {
  auto out = std::make_unique<text::T5Encoder>(file, "", t5_conversion(file, device, dtype, mode));
  if (mode == Offload::stream) out->stream_blocks(device);
  return out;
}

}  // namespace

T5Text::T5Text(const TextEncoderFiles& files, c10::Device device, c10::ScalarType dtype, Offload mode)
    : device_(device), tokenizer_(text::T5Tokenizer::load(files.tokenizer)), encoder_(t5_of(weights_of(files), device, dtype, mode)) {
  if (fs::is_directory(files.encoder)) {
    const auto config = files.encoder / "config.json";
    read_config<T5Config>(config).check(encoder_->shape(), config.string());
  }
  if (tokenizer_.size() > encoder_->shape().vocabulary)
    throw_user_error({.where = files.tokenizer.string(),
                      .problem = "the tokenizer knows more tokens than the encoder",
                      .wanted = fmt::format("{} at most", encoder_->shape().vocabulary),
                      .got = std::to_string(tokenizer_.size())});
}

Tensor T5Text::encode(std::span<const std::string> texts, int64_t length) const {
  return encoder_->forward(tokenizer_.encode(texts, length).to(device_));
}

ClipText::ClipText(const TextEncoderFiles& files, c10::Device device, c10::ScalarType dtype)
    : device_(device), tokenizer_(text::ClipTokenizer::load(files.tokenizer)), encoder_(text::ClipFile::open(files.encoder)) {
  if (device.type() != c10::kCPU || dtype != at::kFloat) encoder_.to(device, dtype);
}

text::ClipTextOutput ClipText::encode(std::span<const std::string> texts) const {
  return encoder_.forward(tokenizer_.encode(texts, length()).to(device_));
}

}  // namespace resflow::generate
