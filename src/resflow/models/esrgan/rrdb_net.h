// RRDBNet: ESRGAN's (1809.00219) residual-in-residual dense blocks as BasicSR has them; Real-ESRGAN's x4plus (23 blocks), x4plus-anime (6) and
// x2plus, which sees the picture pixel-unshuffled.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "resflow/models/remover_network.h"
#include "resflow/nn/conv.h"

namespace resflow::models {

struct RrdbConfig {
  int64_t features = 64, growth = 32, blocks = 23;
  int64_t unshuffle = 1;  // side of the cells that the picture is folded by: 1, 2 or 4 for a scale of 4, 2 or 1
};

// nullopt where the file has no such network. Throws UserError for a picture of other than 3 channels.
std::optional<RrdbConfig> rrdb_config(const weights::TensorFile& file);

// Five convolutions, each of which sees what all before it made; added at a fifth to the input.
class DenseBlock : public nn::Module {
 public:
  DenseBlock(Module& parent, const std::string& name, int64_t features, int64_t growth);
  Tensor forward(const Tensor& x) const;  // [B, C, h, w] -> the same

 private:
  std::vector<std::unique_ptr<nn::Conv2d>> convs_;  // conv1 ... conv5
};

class RrdbNet : public RemoverNetwork {
 public:
  explicit RrdbNet(const RrdbConfig& config);
  Tensor forward(const Tensor& image) const override;
  int64_t scale() const override { return kUpscale / config_.unshuffle; }
  int64_t multiple() const override { return config_.unshuffle; }
  std::string architecture() const override;

 private:
  static constexpr int64_t kUpscale = 4;  // of the two steps at the end

  RrdbConfig config_;
  nn::Conv2d conv_first_;
  std::vector<std::unique_ptr<DenseBlock>> body_;  // three a block
  nn::Conv2d conv_body_, conv_up1_, conv_up2_, conv_hr_, conv_last_;
};

}  // namespace resflow::models
