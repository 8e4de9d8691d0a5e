#include "resflow/text/clip_text.h"

#include <ATen/ATen.h>

#include <limits>

#include "resflow/core/error.h"

namespace resflow::text {
namespace {

int64_t rows(const ClipFile& file, const char* name) { return file.get(name).size(0); }

}  // namespace

ClipTextModel::ClipTextModel(const ClipFile& file, c10::Device device)
    : end_token_(file.text().end_token),
      token_embedding_(*this, "text_model.embeddings.token_embedding", rows(file, "text_model.embeddings.token_embedding.weight"),
                       file.get("text_model.embeddings.token_embedding.weight").size(-1)),
      position_embedding_(*this, "text_model.embeddings.position_embedding", rows(file, "text_model.embeddings.position_embedding.weight"),
                          file.get("text_model.embeddings.position_embedding.weight").size(-1)),
      encoder_(*this, "text_model.encoder", file, file.text()),
      final_layer_norm_(*this, "text_model.final_layer_norm", encoder_.width(), file.text().eps) {
  if (file.contains("text_projection.weight"))
    text_projection_ = std::make_unique<nn::Linear>(*this, "text_projection", encoder_.width(), rows(file, "text_projection.weight"),
                                                    nn::Linear::Options{.bias = false});
  file.load(*this, {"text_model.", "text_projection."}, device);
}

ClipTextOutput ClipTextModel::forward(const Tensor& tokens) const {
  check_shape(tokens, "B L", "tokens");
  const int64_t length = tokens.size(1);
  TORCH_CHECK(length <= context(), "a text of ", length, " tokens, at most ", context(), " fit");
  const Tensor x = token_embedding_.forward(tokens) + position_embedding_.weight.narrow(0, 0, length);              // [B, L, D]
  const Tensor causal = at::full({length, length}, -std::numeric_limits<float>::infinity(), x.options()).triu_(1);  // [L, L]
  ClipTextOutput out;
  out.last = final_layer_norm_.forward(encoder_.forward(x, causal, &out.hidden));
  const Tensor end = end_token_ == 2 ? tokens.argmax(1) : tokens.eq(end_token_).to(at::kInt).argmax(1);  // [B], the first of equals
  out.pooled = out.last.gather(1, end.view({-1, 1, 1}).expand({-1, 1, out.last.size(2)})).squeeze(1);    // [B, D]
  return out;
}

Tensor ClipTextModel::embed(const Tensor& tokens) const {
  TORCH_CHECK(has_projection(), "this text tower has no projection");
  return text_projection_->forward(forward(tokens).pooled);
}

}  // namespace resflow::text
