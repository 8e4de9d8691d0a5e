// The parts of a FLUX model, as `generate` and `restore` both use them: opened at once, loaded when they are first needed, and kept in memory as
// MemoryOptions say.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "resflow/autoencoders/autoencoder.h"
#include "resflow/core/progress.h"
#include "resflow/flow/flow_match_euler.h"
#include "resflow/generate/denoiser_files.h"
#include "resflow/generate/memory.h"
#include "resflow/generate/model_folder.h"
#include "resflow/generate/options.h"
#include "resflow/generate/plan.h"
#include "resflow/generate/text_features.h"
#include "resflow/models/flux/transformer.h"
#include "resflow/models/fusion/control_net.h"

namespace resflow::generate {

class FluxParts {
 public:
  // Reads configurations and headers (denoiser_files.h). Throws UserError where a part is missing or is not what it is taken for, an adapter or a
  // ControlNet is not the transformer's, or the device is not there.
  FluxParts(const ModelOptions& options, const MemoryOptions& memory);
  ~FluxParts();

  const ModelFolder& folder() const { return folder_; }
  const models::FluxConfig& config() const { return files_->config; }
  const DenoiserFiles& files() const { return *files_; }
  const flow::FlowMatchEuler& schedule() const { return schedule_; }
  const std::vector<weights::LoraChoice>& loras() const { return files_->loras; }
  c10::Device device() const { return device_; }
  c10::ScalarType dtype() const { return dtype_; }
  ModelFacts facts() const;

  // What `work` takes of memory, and the mode that follows; once something is loaded, the mode stays. Throws UserError where `max_vram` is too
  // little.
  Needs needs(const Work& work) const { return needs_of(options_, work, device_); }
  Decision choose(const Work& work);
  // choose(), where nothing is chosen yet and the options leave anything to choose or to refuse; else nothing.
  std::optional<Decision> settle(const Work& work);
  // Without either before: the mode that the options name, or on a CPU `stream`, else `text`.
  Offload mode() const;

  // What the transformer is told of a text. The encoders are loaded and freed as the mode says; where the transformer is there already, T5's blocks
  // come in turns rather than beside it. Throws UserError where the encoders are not this transformer's; Cancelled.
  TextFeatures read_text(const std::string& text, int64_t length, const Job& job);

  void load_transformer();  // with its ControlNet
  void load_autoencoder();
  // Its weights are there after load_...(); its shape always.
  models::FluxTransformer& transformer() const;
  const models::FluxControlNet* control() const { return control_.get(); }  // null: there is none
  const autoencoders::Autoencoder& autoencoder() const { return *autoencoder_; }

  // Where weights are read from: options before the folder.
  const std::filesystem::path& transformer_path() const { return files_->path; }
  std::filesystem::path autoencoder_path() const;

 private:
  ModelOptions options_;
  MemoryOptions memory_;
  std::optional<Decision> decision_;
  ModelFolder folder_;
  c10::Device device_;
  c10::ScalarType dtype_;
  flow::FlowMatchEuler schedule_;
  TextEncoders encoders_;  // with Offload::none
  std::unique_ptr<autoencoders::Autoencoder> autoencoder_;
  std::unique_ptr<const DenoiserFiles> files_;
  std::unique_ptr<models::FluxTransformer> transformer_;
  std::unique_ptr<models::FluxControlNet> control_;
  bool autoencoder_loaded_ = false;
};

}  // namespace resflow::generate
