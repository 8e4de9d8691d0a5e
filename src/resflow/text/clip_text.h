// CLIP's text tower (transformers: CLIPTextModel, CLIPTextModelWithProjection). Rewards compare its embedding with an image's; FLUX is
// conditioned on its pooled output.
#pragma once

#include <memory>
#include <vector>

#include "resflow/nn/embedding.h"
#include "resflow/text/clip_encoder.h"

namespace resflow::text {

struct ClipTextOutput {
  Tensor last;                 // after the final norm, [B, L, D]
  Tensor pooled;               // of `last`, at the end token, [B, D]
  std::vector<Tensor> hidden;  // the embeddings, then what each layer gives, without the final norm: layers + 1 of [B, L, D]
};

class ClipTextModel : public nn::Module {
 public:
  // The text half of a whole CLIP, or a text tower alone. float32. Throws UserError.
  explicit ClipTextModel(const ClipFile& file, c10::Device device = c10::kCPU);

  // tokens int64 [B, L], L at most context()
  ClipTextOutput forward(const Tensor& tokens) const;
  // The pooled output in the space that texts and images share; not of unit length. The file must have a projection. -> [B, E]
  Tensor embed(const Tensor& tokens) const;

  int64_t context() const { return position_embedding_.weight.size(0); }  // the longest text in tokens, 77
  bool has_projection() const { return text_projection_ != nullptr; }
  int64_t embedding_width() const { return text_projection_ ? text_projection_->weight.size(0) : 0; }  // E

 private:
  int64_t end_token_;
  nn::Embedding token_embedding_, position_embedding_;
  ClipEncoder encoder_;
  nn::LayerNorm final_layer_norm_;
  std::unique_ptr<nn::Linear> text_projection_;
};

}  // namespace resflow::text
