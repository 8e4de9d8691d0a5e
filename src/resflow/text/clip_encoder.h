// The layers that both of CLIP's towers are made of (Radford et al. 2021; transformers: CLIPEncoder): norm, attention, norm, network.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "resflow/nn/layer_norm.h"
#include "resflow/nn/linear.h"
#include "resflow/text/clip_file.h"

namespace resflow::text {

class ClipEncoderLayer : public nn::Module {
 public:
  ClipEncoderLayer(nn::Module& parent, const std::string& name, int64_t width, int64_t inner, const ClipTower& tower);
  // x [B, L, D], mask [L, L] added to the scores (or undefined) -> [B, L, D]
  Tensor forward(const Tensor& x, const Tensor& mask) const;

 private:
  int64_t heads_;
  bool quick_gelu_;

 public:
  nn::LayerNorm layer_norm1;
  nn::Linear q_proj, k_proj, v_proj, out_proj;
  nn::LayerNorm layer_norm2;
  nn::Linear fc1, fc2;
};

class ClipEncoder : public nn::Module {
 public:
  // As many layers, and as wide, as the file has under "NAME.layers.".
  ClipEncoder(nn::Module& parent, const std::string& name, const ClipFile& file, const ClipTower& tower);
  // `after_each`, where given, takes x and what every layer made of it: layers + 1 tensors.
  Tensor forward(const Tensor& x, const Tensor& mask, std::vector<Tensor>* after_each = nullptr) const;

  int64_t width() const { return width_; }

 private:
  int64_t width_ = 0;
  std::vector<std::unique_ptr<ClipEncoderLayer>> layers_;
};

}  // namespace resflow::text
