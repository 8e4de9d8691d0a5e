// Which files bring a picture's condition into FLUX, and what kind of fusion they make.
#pragma once

#include <optional>

#include "resflow/models/fusion/config.h"
#include "resflow/models/fusion/control_file.h"
#include "resflow/restore/options.h"
#include "resflow/weights/lora_list.h"

namespace resflow::restore {

struct ConditionFiles {
  models::FusionConfig fusion;
  std::optional<models::FluxControlFile> control;  // of controlnet
  std::optional<weights::TensorFile> embedder;     // of addition: condition_embedder.safetensors beside the adapter
};

// --adapter as generate::ModelOptions::lora takes it: FILE or FILE:SCALE; a folder, such as a run's, stands for the adapter.safetensors in it.
// Nothing where there is none. Throws UserError.
std::vector<std::string> adapter_choice(const FluxOptions& options);

// The fusion, by what is said and else by the files: an adapter's metadata (models/fusion/export.h); a map beside it means addition. What an adapter
// does not say of its condition's attention is as its maker trains: resflow independent, all others full. Throws UserError: neither adapter nor
// ControlNet, both, one that does not go with the fusion that was asked for, a kind of control that is needed or not known. loras: as opened, the
// adapter first where there is one.
ConditionFiles open_condition(const FluxOptions& options, const std::vector<weights::LoraChoice>& loras);

}  // namespace resflow::restore
