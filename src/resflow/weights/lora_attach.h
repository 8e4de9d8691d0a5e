// Adapters on a model: at run time, or merged into its weights; and off again.
#pragma once

#include <optional>

#include "resflow/weights/lora.h"

namespace resflow::weights {

struct LoraUse {
  double scale = 1;                      // beside the file's own
  bool merge = false;                    // into copies of the weights: what shares the model's own does not change
  std::optional<nn::LoraTokens> tokens;  // instead of what the file says
};

// What attaching changed.
struct AttachedLora {
  struct Replaced {
    Tensor* slot;
    Tensor before, after;
  };
  struct Widened {
    nn::Linear* linear = nullptr;
    Tensor weight;
    nn::QuantisedWeight quantised;
    int64_t in = 0;
  };
  uint64_t owner = 0;
  std::vector<nn::Linear*> adapted;
  std::vector<Replaced> replaced;
  Widened widened;
};

// Adds the adapter to the model's Linears of its names. Adapters add up. Throws UserError, before anything is changed: for modules that the model
// does not have (how many, and the first names) and shapes that are not the model's; when merging, for an adapter of the condition's tokens alone
// and for quantised weights.
//
// "x_embedder" may take more channels of a token than the model's: control adapters do. Then the model's is widened with zeros, as diffusers does,
// and the model takes tokens of that width. A narrower adapter's other channels are zeros.
AttachedLora attach(nn::Module& model, const Lora& lora, const LoraUse& use = {});

// Throws what attach() would of names and shapes. The model need not be loaded.
void check_fits(const nn::Module& model, const Lora& lora);

// Takes it off: the model computes bit for bit what it did before. What was merged, replaced or widened goes in the reverse order of attaching.
void detach(const AttachedLora& attached);

}  // namespace resflow::weights
