// BLIP's two encoders (Li et al. 2022, arXiv 2201.12086) under the names of its own files: a vision transformer in timm's layout, and BERT
// whose layers look at an image between their attention and their network. Sizes are the file's, heads are of 64.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "resflow/nn/embedding.h"
#include "resflow/nn/layer_norm.h"
#include "resflow/nn/linear.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::rewards {

struct BlipVisionBlock;
struct BlipTextLayer;

class BlipVision : public nn::Module {
 public:
  // Declares what stands in the file under "NAME."; the caller binds it. Throws UserError.
  BlipVision(nn::Module& parent, const std::string& name, const weights::TensorFile& file);
  ~BlipVision() override;
  // pixels [N, 3, side, side], normalised (clip_input) -> a token for the whole and one for each patch, [N, L, D]
  Tensor forward(const Tensor& pixels) const;
  int64_t side() const { return side_; }    // of the square that it sees, in pixels: 224
  int64_t width() const { return width_; }  // D

 private:
  Tensor class_token_, position_, patch_weight_, patch_bias_;  // [1, 1, D], [1, L, D], [D, 3, P, P], [D]
  int64_t patch_ = 0, side_ = 0, width_ = 0;
  std::vector<std::unique_ptr<BlipVisionBlock>> blocks_;
  std::unique_ptr<nn::LayerNorm> norm_;
};

class BlipText : public nn::Module {
 public:
  // The same; `seen`: the width of the image's tokens.
  BlipText(nn::Module& parent, const std::string& name, const weights::TensorFile& file, int64_t seen);
  ~BlipText() override;
  // tokens int64 [1, T] without padding, image [N, L, seen]: one text, looked at with each image. -> [N, T, D]
  Tensor forward(const Tensor& tokens, const Tensor& image) const;
  int64_t words() const { return words_; }  // of the vocabulary
  int64_t width() const { return width_; }  // D

 private:
  int64_t words_ = 0, width_ = 0;
  std::unique_ptr<nn::Embedding> word_embeddings_, position_embeddings_;
  std::unique_ptr<nn::LayerNorm> norm_;
  std::vector<std::unique_ptr<BlipTextLayer>> layers_;
};

}  // namespace resflow::rewards
