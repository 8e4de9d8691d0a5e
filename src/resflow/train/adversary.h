// A second network that learns to tell results from true pictures, and the loss that follows from it: a mean of what a picture may be is far from
// every true one, however near in pixels, and an adversary tells it by that (Goodfellow et al. 2014, 1406.2661). It sees what the frozen network of
// the feature loss sees (projected adversaries, Sauer et al. 2021, 2111.01007: that converges an order of magnitude sooner) and the pixels
// themselves, to whose finest detail that network is blind.
#pragma once

#include <memory>
#include <vector>

#include "resflow/nn/module.h"

namespace resflow::train {

class Adversary : public nn::Module {
 public:
  // channels: of each tap of the feature network. A child of the module that is trained, so that it is trained, stored and resumed with it.
  Adversary(nn::Module& parent, const std::vector<int64_t>& channels);
  ~Adversary() override;

  // A batch of pictures as it is shown them.
  struct Sight {
    std::vector<Tensor> features;  // per tap [B, C, h, w], of unit length
    Tensor pixels;                 // [B, 3, H, W], 0..1
  };
  // What it minimises itself for each pair: the hinge loss, mean over the places and all heads; `made` is not differentiated. -> [B]
  Tensor own_loss(const Sight& real, const Sight& made) const;
  // How far it sees through each picture, its own weights frozen: to be minimised by what made it. -> [B]
  Tensor seen_through(const Sight& made) const;

  static constexpr const char* kName = "adversary";  // of the child: "adversary.taps.0.conv1.weight"

 private:
  class Head;
  // Per head [B, places]. frozen: no gradient for the weights.
  std::vector<Tensor> scores(const Sight& sight, bool frozen) const;
  std::vector<std::unique_ptr<Head>> taps_;
  std::unique_ptr<Head> pixels_;
};

}  // namespace resflow::train
