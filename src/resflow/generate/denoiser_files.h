// What predicts the velocity, as it is on the disk: the transformer, its adapters and a ControlNet.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "resflow/generate/model_folder.h"
#include "resflow/generate/options.h"
#include "resflow/generate/plan.h"
#include "resflow/models/flux/config.h"
#include "resflow/models/fusion/control_file.h"
#include "resflow/weights/lora_list.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::generate {

// The autoencoder's, which the transformer's tokens are made of.
struct LatentShape {
  int64_t channels = 16, reduction = 8;
};

struct DenoiserFiles {
  // The transformer's as it is loaded. Other weights than the folder's may take other tokens (a file of FLUX.1 Fill beside the folder of dev): then
  // the widths are the file's.
  models::FluxConfig config;
  std::filesystem::path path;
  weights::TensorFile transformer;  // under diffusers' names
  std::vector<weights::LoraChoice> loras;
  std::string control_name;  // of the ControlNet, as it was asked for
  std::filesystem::path control_path;
  std::optional<models::FluxControlFile> control;

  Beside beside = Beside::nothing;
  int64_t token_in = 64;  // channels of a token that comes in, once adapters are attached: one of FLUX.1 Canny-dev-lora's kind widens it
};

// Reads configurations and headers. Throws UserError: tokens that are of no known kind, an adapter of another model, a ControlNet of another width.
DenoiserFiles open_denoiser(const ModelOptions& options, const ModelFolder& folder, const LatentShape& latent);

}  // namespace resflow::generate
