// SRVGGNetCompact: a row of convolutions at the picture's own size, pixel-shuffled at the end and added to the nearest neighbours' enlargement;
// Real-ESRGAN's general-x4v3 (32 inner convolutions) and animevideov3 (16).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "resflow/models/remover_network.h"
#include "resflow/nn/conv.h"

namespace resflow::models {

struct SrvggConfig {
  int64_t features = 64, convolutions = 32;  // between the first and the last
  int64_t scale = 4;
};

// nullopt where the file has no such network. Throws UserError where its last convolution makes no picture of three channels.
std::optional<SrvggConfig> srvgg_config(const weights::TensorFile& file);

// A slope for each channel.
class PRelu : public nn::Module {
 public:
  PRelu(Module& parent, const std::string& name, int64_t channels) : Module(parent, name) { declare("weight", weight, {channels}); }
  Tensor forward(const Tensor& x) const;  // [B, C, h, w] -> the same

  Tensor weight;  // [C]
};

class SrvggNet : public RemoverNetwork {
 public:
  explicit SrvggNet(const SrvggConfig& config);
  Tensor forward(const Tensor& image) const override;
  int64_t scale() const override { return config_.scale; }
  int64_t multiple() const override { return 1; }
  std::string architecture() const override;

 private:
  SrvggConfig config_;
  std::vector<std::unique_ptr<nn::Conv2d>> convs_;  // body.0, body.2, ...
  std::vector<std::unique_ptr<PRelu>> slopes_;      // body.1, body.3, ...
};

}  // namespace resflow::models
