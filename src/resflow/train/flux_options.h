// What training a fusion for FLUX is told beyond what every training is.
#pragma once

#include "resflow/models/fusion/config.h"

namespace resflow::train {

struct FluxOptions {
  std::string model, autoencoder;
  std::string optimizer = "adamw";
  int64_t accumulate = 1;
  bool checkpoint = true;
  double time_mean = 0, time_deviation = 1;
  bool time_shift = true;
  double guidance = 1;
  double drop_text = 0.1, drop_image = 0.1;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("model", o.model, "FLUX's transformer: a folder with config.json, or one file. It is frozen");
    visit("autoencoder", o.autoencoder, "FLUX's autoencoder, a folder or a file: decodes the validation's pictures; empty = none are made");
    visit("optimizer", o.optimizer, "adamw, or prodigy, which finds its step's size by itself (give it learning_rate = 1)",
          OneOf{{"adamw", "prodigy"}});
    visit("accumulate", o.accumulate, "Batches a step, whose gradients are averaged", Range{1, 4096});
    visit("checkpoint", o.checkpoint, "Keep each block's inputs alone and compute it again for its gradient: less memory, a third more time");
    visit("time_mean", o.time_mean, "Mean of the logit of t", Range{-10, 10});
    visit("time_deviation", o.time_deviation, "Deviation of the logit of t", Range{0, 10});
    visit("time_shift", o.time_shift, "Move t towards noise as the sampler does for an image of so many tokens");
    visit("guidance", o.guidance, "Guidance scale that a distilled model is fed in training", Range{0, 100});
    visit("drop_text", o.drop_text, "Share of samples whose text is empty", Range{0, 1});
    visit("drop_image", o.drop_image, "Share of samples whose condition image is empty", Range{0, 1});
  }
};

}  // namespace resflow::train
