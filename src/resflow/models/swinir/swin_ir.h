// SwinIR (Liang et al. 2021, 2108.10257; its authors' network_swinir.py): residual groups of window attention on the picture's own grid. Its
// published classical, lightweight and real-world enlargers and its removers of noise and JPEG's marks; and DiffBIR's general_swinir_v1 (2308.15070),
// which sees the picture folded by 8 and makes it 8 times larger again.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "resflow/models/remover_network.h"
#include "resflow/models/swinir/swin_attention.h"
#include "resflow/nn/conv.h"

namespace resflow::models {

// How features become a picture.
enum class SwinIrEnd {
  pixel_shuffle,         // convolutions and shuffles by 2 or 3 ("classical")
  pixel_shuffle_direct,  // one convolution and one shuffle ("lightweight")
  nearest_conv,          // nearest neighbours and convolutions, doubling ("real-world", general_swinir_v1)
  residual,              // a change of the picture, at its size (noise, JPEG)
};

struct SwinIrConfig {
  int64_t width = 180, hidden = 360, window = 8;
  std::vector<int64_t> depths = {6, 6, 6, 6, 6, 6}, heads = {6, 6, 6, 6, 6, 6};
  SwinIrEnd end = SwinIrEnd::pixel_shuffle;
  int64_t features = 64;                    // of the enlarging convolutions
  int64_t upscale = 4;                      // of the end
  int64_t unshuffle = 1;                    // side of the cells that the picture is folded by
  bool three_convolutions = false;          // at the end of each group, a narrow one in the middle (SwinIR-L)
  bool embedding_norm = true;               // before the first group
  std::string first_name = "conv_first.1";  // of the first convolution's tensors: "conv_first", or "conv_first.1" after a fold
};

// The file without what is made anew from the configuration (masks, indices), and without the "module." of data-parallel training.
weights::TensorFile swin_ir_tensors(const weights::TensorFile& file);

// Read from the tensors' shapes; the file as swin_ir_tensors() gives it. nullopt where it has no such network. Throws UserError for a picture of
// other than 3 channels, and a scale that is no whole number.
std::optional<SwinIrConfig> swin_ir_config(const weights::TensorFile& file);

// A row of blocks and a convolution, added to what came in.
class SwinGroup : public nn::Module {
 public:
  SwinGroup(Module& parent, const std::string& name, const SwinIrConfig& config, int64_t depth, int64_t heads);
  Tensor forward(const Tensor& map, const Tensor& mask) const;  // [B, H, W, C] -> the same

 private:
  std::vector<std::unique_ptr<SwinBlock>> blocks_;
  std::vector<std::unique_ptr<nn::Conv2d>> convs_;  // one, or three
};

class SwinIr : public RemoverNetwork {
 public:
  explicit SwinIr(const SwinIrConfig& config);
  Tensor forward(const Tensor& image) const override;
  int64_t scale() const override { return config_.upscale / config_.unshuffle; }
  int64_t multiple() const override { return config_.window * config_.unshuffle; }
  // DiffBIR's is trained on pictures that were degraded and brought back to their size; those of noise and JPEG see them as they are.
  bool wants_enlarged() const override { return scale() == 1 && config_.unshuffle > 1; }
  int64_t margin() const override { return std::max<int64_t>(RemoverNetwork::margin(), 2 * multiple()); }
  std::string architecture() const override;

 private:
  Tensor features(const Tensor& x) const;  // [B, C, h, w] -> the same
  Tensor enlarged(const Tensor& x) const;  // [B, C, h, w] -> [B, 3, upscale h, upscale w]

  SwinIrConfig config_;
  double range_;  // of the pixels that it was trained on
  nn::Conv2d conv_first_;
  std::unique_ptr<nn::LayerNorm> embedding_norm_;
  std::vector<std::unique_ptr<SwinGroup>> layers_;
  nn::LayerNorm norm_;
  std::vector<std::unique_ptr<nn::Conv2d>> after_body_;  // one, or three
  std::unique_ptr<nn::Conv2d> before_upsample_, conv_hr_, conv_last_;
  std::vector<std::unique_ptr<nn::Conv2d>> up_;
};

}  // namespace resflow::models
