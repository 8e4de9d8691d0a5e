// Attention within square windows of a feature map (Swin, 2103.14030; SwinIR, 2108.10257): every other block's windows lie half a window further, and
// the map's borders are closed to each other by a mask.
#pragma once

#include "resflow/nn/layer_norm.h"
#include "resflow/nn/linear.h"

namespace resflow::models {

struct SwinBlockConfig {
  int64_t width = 180, heads = 6, hidden = 360;
  int64_t window = 8;
  int64_t shift = 0;  // 0 or window / 2
};

// [B, H, W, C], sides multiples of `window` -> [B (H / window) (W / window), window^2, C], and back.
Tensor to_windows(const Tensor& map, int64_t window);
Tensor from_windows(const Tensor& windows, int64_t window, int64_t height, int64_t width);

// What is added to the scores of the shifted windows, by the map's size: 0 where two tokens were neighbours before the shift, -100 else.
// [(height / window) (width / window), window^2, window^2], float32.
Tensor shift_mask(int64_t height, int64_t width, int64_t window, int64_t shift);

class WindowAttention : public nn::Module {
 public:
  WindowAttention(Module& parent, const std::string& name, const SwinBlockConfig& config);
  // windows [B n, window^2, C], mask [n, window^2, window^2] or undefined -> as windows
  Tensor forward(const Tensor& windows, const Tensor& mask) const;

  // Member order is the checkpoint's.
  Tensor relative_position_bias_table;  // [(2 window - 1)^2, heads]: by the distance down and across
 private:
  SwinBlockConfig config_;
  nn::Linear qkv_, proj_;
  Tensor index_;  // int64 [window^4]: the row of the table for each two tokens
};

class SwinBlock : public nn::Module {
 public:
  SwinBlock(Module& parent, const std::string& name, const SwinBlockConfig& config);
  // map [B, H, W, C]; mask: shift_mask() of its size; looked at by a block with a shift alone -> as map
  Tensor forward(const Tensor& map, const Tensor& mask) const;

 private:
  SwinBlockConfig config_;
  nn::LayerNorm norm1_;
  WindowAttention attn_;
  nn::LayerNorm norm2_;
  nn::Linear fc1_, fc2_;
};

}  // namespace resflow::models
