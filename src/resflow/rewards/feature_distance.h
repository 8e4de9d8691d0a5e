// How far apart two pictures look to a classification network: the distance between unit-normalised features at six depths, after
// Zhang et al. 2018 (LPIPS, arXiv 1801.03924), here with an EfficientNet-Lite trunk and without learned channel weights.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::rewards {

class EfficientNetLite;

// Differentiable with respect to the images; the weights are frozen. Calls may run at the same time in several threads.
class FeatureDistance {
 public:
  // A file made by tools/efficientnet_lite_to_safetensors.py. Its metadata name the trunk ("variant": lite0 ... lite4) and may name
  // the blocks to compare ("taps": "0,2,4,7,10,15"; else the last of stages 1, 2, 3, 4, 5 and 7). Throws UserError.
  static FeatureDistance load(const std::filesystem::path& safetensors);

  // taps: ascending.
  FeatureDistance(std::shared_ptr<EfficientNetLite> trunk, std::vector<int64_t> taps) : trunk_(std::move(trunk)), taps_(std::move(taps)) {}

  // Features at each tap, of unit length over the channels. images: float [B, 3, H, W], 0..1, on the weights' device.
  // -> per tap [B, C, h, w]
  std::vector<Tensor> features(const Tensor& images) const;
  // Channels at each tap.
  std::vector<int64_t> channels() const;
  // Mean over the taps of the mean over positions of the squared difference summed over channels: 0 = same, 4 = opposite. -> [B]
  Tensor distance(const Tensor& a, const Tensor& b) const;
  // The same against features computed once, under no gradient, for a fixed target. -> [B]
  Tensor distance_to(const Tensor& a, const std::vector<Tensor>& target_features) const;
  // The same between features of both. -> [B]
  static Tensor between(const std::vector<Tensor>& a, const std::vector<Tensor>& b);

  void to(c10::Device device);
  const std::string& variant() const;
  const std::vector<int64_t>& taps() const { return taps_; }

 private:
  std::shared_ptr<EfficientNetLite> trunk_;
  std::vector<int64_t> taps_;
};

}  // namespace resflow::rewards
