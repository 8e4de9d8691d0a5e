// The encoder of T5 v1.1 (Raffel et al. 2020; transformers: T5EncoderModel), FLUX's main text encoder: relative positions, no scaling of the
// scores, gated tanh-GELU.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "resflow/nn/embedding.h"
#include "resflow/nn/layer_stream.h"
#include "resflow/nn/linear.h"
#include "resflow/nn/norm.h"
#include "resflow/weights/load.h"

namespace resflow::text {

// Read off the tensors' shapes.
struct T5Shape {
  int64_t vocabulary, width, inner, heads, head_width, layers;
  int64_t buckets;  // of the relative positions
};

class T5Block : public nn::Module {
 public:
  T5Block(nn::Module& parent, const std::string& name, const T5Shape& shape);
  // x [B, L, D], bias [1, H, L, L] added to the scores -> [B, L, D]
  Tensor forward(const Tensor& x, const Tensor& bias) const;

 private:
  int64_t heads_;
  nn::Linear q_, k_, v_, o_;
  nn::RmsNorm attention_norm_;
  nn::Linear wi_0_, wi_1_, wo_;
  nn::RmsNorm network_norm_;
};

class T5Encoder : public nn::Module {
 public:
  // The file's tensors under `prefix`; without one, wherever they are in the file, under transformers' names or llama.cpp's. float16 overflows
  // behind `wo`: such files are computed in float32 unless `conversion` says otherwise, and stay float16 in memory. Throws UserError.
  explicit T5Encoder(const weights::TensorFile& file, const std::string& prefix = "", weights::Conversion conversion = {});

  // tokens int64 [B, L] -> the last hidden state after the final norm, [B, L, D]. Every token is attended to, padding too, as FLUX wants it.
  Tensor forward(const Tensor& tokens) const;

  // The blocks come to `device` in turns from now on (nn/layer_stream.h); everything else moves there. Bind on the CPU before.
  void stream_blocks(c10::Device device);
  std::vector<nn::Module*> block_modules() const;  // in the order in which they run

  const T5Shape& shape() const { return shape_; }

 private:
  struct Named {};  // the tensors are transformers'
  T5Encoder(Named, const weights::TensorFile& file, const std::string& prefix, weights::Conversion conversion);
  Tensor position_bias(int64_t length) const;  // [1, H, L, L]

  T5Shape shape_;
  nn::Embedding embedding_;
  nn::Embedding relative_bias_;  // stored in the first block, used by all
  std::vector<std::unique_ptr<T5Block>> blocks_;
  nn::RmsNorm final_norm_;
  std::unique_ptr<nn::LayerStream> stream_;  // undefined: the blocks are where they compute. Last: it ends before the blocks
};

}  // namespace resflow::text
