// compact-iqa: a small network that looks at a restored picture alone and says how far it looks from the clean one.
#pragma once

#include <memory>
#include <vector>

#include "resflow/nn/conv.h"
#include "resflow/nn/module.h"

namespace resflow::rewards {

class IqaBlock;

// Four stages of residual convolutions at 1/2 ... 1/16 of the size, then a map of distances that is averaged. What it is taught
// (train/iqa_objective): the distance between unit-normalised features of a classification network (feature_distance.h) from a picture to the clean
// one, which it does not see. Its shape is fixed, so a file needs no configuration.
class IqaNetwork : public nn::Module {
 public:
  IqaNetwork();
  ~IqaNetwork() override;

  // images: float [B, 3, H, W], 0..1, any size; sides are extended by their edge to a multiple of 16. -> [B]: 0 = as the clean picture, up to 4
  Tensor forward(const Tensor& images) const;

 private:
  nn::Conv2d conv_in_;
  std::vector<std::unique_ptr<nn::Conv2d>> down_;  // to the next stage
  std::vector<std::unique_ptr<IqaBlock>> blocks_;  // kBlocks a stage
  nn::Conv2d conv_out_;
};

}  // namespace resflow::rewards
