// What follows from the options, the sources and the model before anything is computed: sizes and noise levels.
#pragma once

#include <cstdint>
#include <vector>

#include "resflow/flow/flow_match_euler.h"
#include "resflow/generate/options.h"

namespace resflow::generate {

struct Size {
  int64_t width = 0, height = 0;
};

struct Sources {
  Size image, reference, control, mask;  // 0 x 0: there is none
};

// What a transformer's tokens hold beside the latent's 64 channels: nothing; a control image's latent (FLUX.1 Canny and Depth, or dev with a control
// adapter), 128 in all; or the masked picture's latent and the mask (FLUX.1 Fill), 384.
enum class Beside { nothing, control, fill };

// What the model asks of a size and of the steps.
struct ModelFacts {
  int64_t multiple = 16;  // of both sides: two of the autoencoder's latent pixels
  bool guidance = true;   // whether it is fed a scale
  Beside beside = Beside::nothing;
  bool control_net = false;   // whether there is a ControlNet
  int64_t control_modes = 0;  // kinds of control that it tells apart; 0: one
};

struct Plan {
  Size size;                   // of the result
  Size reference;              // of the resized reference
  int64_t tokens = 0;          // of the result
  int64_t steps = 0;           // the whole schedule's
  double strength = 1;         // share of them that is visited; less than 1 with an image alone
  std::vector<double> sigmas;  // those that are visited, ending at 0; with an image the first ones are left out
};

// Throws UserError: sizes that are no multiples, a strength that leaves no step, pictures that the model is not shown or that are missing, a kind of
// control that the ControlNet does not know.
Plan make_plan(const GenerateOptions& options, const Sources& sources, const ModelFacts& model, const flow::FlowMatchEuler& schedule);

// The size that Kontext was trained on and whose sides' ratio is nearest (diffusers: PREFERRED_KONTEXT_RESOLUTIONS).
Size kontext_size(Size reference);

}  // namespace resflow::generate
