// A LoRA on FLUX in training: its own tensors, attached to the transformer's layers.
#pragma once

#include <memory>
#include <vector>

#include "resflow/models/flux/transformer.h"

namespace resflow::models {

// The layers that OminiControl adapts (weights/lora_omini.h): the latent's embedding; of double-stream blocks the image's modulation, attention and
// the network's way out; of single-stream blocks all. At rank 16 of FLUX.1-dev 57,951,232 parameters.
bool is_adapted(const std::string& layer);

class FluxAdapter : public nn::Module {
 public:
  // Names are PEFT's: "x_embedder.lora_A.weight" [rank, in], "x_embedder.lora_B.weight" [out, rank]. Nothing is allocated.
  FluxAdapter(Module& parent, const std::string& name, FluxTransformer& flux, int64_t rank);

  // Puts the tensors, once they are there, onto the layers: shared, so that what an optimiser does to them in place is seen at once.
  void attach(double scale, nn::LoraTokens tokens) const;
  void detach() const;

 private:
  void initialise_own(const Stream& stream) override;
  struct Delta {
    std::string layer;
    nn::Linear* target;
    Tensor down, up;
  };
  int64_t rank_;
  std::vector<std::unique_ptr<Delta>> deltas_;  // their addresses are slots
};

}  // namespace resflow::models
