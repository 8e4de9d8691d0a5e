#include "resflow/weights/t5_names.h"

#include <array>
#include <string>

#include "resflow/core/error.h"
#include "resflow/weights/view.h"

namespace resflow::weights {
namespace {

constexpr std::string_view kMark = "encoder.block.0.layer.0.SelfAttention.q.weight";
constexpr std::string_view kBlock = "enc.blk.";

struct Pair {
  std::string_view theirs, ours;
};
constexpr std::array<Pair, 10> kInBlock = {{
    {"attn_q.weight", "layer.0.SelfAttention.q.weight"},
    {"attn_k.weight", "layer.0.SelfAttention.k.weight"},
    {"attn_v.weight", "layer.0.SelfAttention.v.weight"},
    {"attn_o.weight", "layer.0.SelfAttention.o.weight"},
    {"attn_rel_b.weight", "layer.0.SelfAttention.relative_attention_bias.weight"},
    {"attn_norm.weight", "layer.0.layer_norm.weight"},
    {"ffn_gate.weight", "layer.1.DenseReluDense.wi_0.weight"},
    {"ffn_up.weight", "layer.1.DenseReluDense.wi_1.weight"},
    {"ffn_down.weight", "layer.1.DenseReluDense.wo.weight"},
    {"ffn_norm.weight", "layer.1.layer_norm.weight"},
}};
constexpr std::array<Pair, 2> kTop = {{
    {"token_embd.weight", "shared.weight"},
    {"enc.output_norm.weight", "encoder.final_layer_norm.weight"},
}};

std::string from_llama(const std::string& name) {
  for (const auto& [theirs, ours] : kTop)
    if (name == theirs) return std::string(ours);
  const auto dot = name.find('.', kBlock.size());
  if (!name.starts_with(kBlock) || dot == std::string::npos) return name;
  for (const auto& [theirs, ours] : kInBlock)
    if (name.substr(dot + 1) == theirs) return "encoder.block." + name.substr(kBlock.size(), dot - kBlock.size() + 1) + std::string(ours);
  return name;
}

}  // namespace

TensorFile t5_as_transformers(const TensorFile& file) {
  std::vector<ViewTensor> out;
  if (file.contains("enc.blk.0.attn_q.weight")) {
    for (const auto& name : file.names())
      if (name.starts_with("enc.") || name == kTop[0].theirs) out.push_back({.name = from_llama(name), .rows = {{.name = name}}});
    return view_of(file, std::move(out));
  }
  for (const auto& name : file.names()) {
    if (!name.ends_with(kMark)) continue;
    const auto prefix = name.substr(0, name.size() - kMark.size());
    if (!prefix.empty() && prefix.back() != '.') continue;
    if (prefix.empty()) return file;
    return without_prefix(file, prefix);
  }
  throw_user_error({.where = "load",
                    .problem = file.path().string() + ": no T5 encoder in this file",
                    .wanted = "the encoder of T5 v1.1 under transformers' names (encoder.block.0...) or llama.cpp's (enc.blk.0...)",
                    .hint = "`resflow inspect` says what a file is"});
}

}  // namespace resflow::weights
