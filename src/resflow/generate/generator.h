// Pictures of texts: FLUX.1 from a diffusers folder, number for number diffusers' FluxPipeline, FluxImg2ImgPipeline, FluxKontextPipeline,
// FluxControlNetPipeline, FluxControlPipeline and FluxFillPipeline.
//
// In which type what is computed: the text's vector (CLIP), the noise levels, the latent between the steps and the timestep and guidance that are
// embedded in float32; T5 and the transformer in ModelOptions::dtype, T5 never in float16; the autoencoder in float32, but in bf16 on a GPU that
// is asked for bf16. diffusers rounds latents, timestep and guidance to the pipeline's type as well: in float32 both are the same.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "resflow/core/json.h"
#include "resflow/core/progress.h"
#include "resflow/generate/flux_parts.h"
#include "resflow/generate/options.h"
#include "resflow/generate/plan.h"
#include "resflow/image/codec.h"

namespace resflow::generate {

struct Request {
  std::string prompt;
  Tensor image;      // where the flow starts, [3, h, w], 0..1, any size; or undefined: from noise
  Tensor reference;  // what Kontext is shown, [3, h, w], 0..1, any size; or undefined. Not both
  Tensor control;    // what a ControlNet, or a Control model, is shown, [3, h, w], 0..1, any size; or undefined
  Tensor mask;       // Fill: what of `image` is painted, half grey or brighter, [3, h, w], 0..1, any size; or undefined
};

struct Generated {
  image::Picture picture;
  Json manifest;                   // program, model, prompt, options as used, seed, size, seconds, evaluations
  std::vector<std::string> notes;  // what a person should know
};

// Noise of picture `index`, [1, C, h, w] float32 on the CPU. For comparisons with another implementation's.
using DrawNoise = std::function<Tensor(int64_t index, at::IntArrayRef shape)>;

// Holds a model. Configurations are read and files are opened at once, weights when they are first used: the encoders of the text before the
// transformer, and they are freed before it comes. Not from two threads at once.
class Generator {
 public:
  // Throws UserError where a part is missing or is not what it is taken for, or the device is not there.
  explicit Generator(const ModelOptions& options, const MemoryOptions& memory = {});

  // Makes options.n pictures and hands each over when it is ready. Picture i is that of seed + i alone. Reports stage "denoise", one unit a step,
  // of n items. Throws UserError (options, files), Cancelled.
  void generate(const Request& request, const GenerateOptions& options, const Job& job,
                const std::function<void(int64_t index, Generated)>& on_picture, const DrawNoise& draw = {});

  // What would be done, without doing it. Throws UserError.
  Plan plan(const Request& request, const GenerateOptions& options) const;

  // What that would take of memory, and the mode that generate() will run in. Once something is loaded, the mode stays. Throws UserError where
  // `max_vram` is too little.
  Needs needs(const Request& request, const GenerateOptions& options) const;
  Decision choose(const Request& request, const GenerateOptions& options);

  // Loads what generate() would load by itself; without choose() before, in the mode that the options name, or on a CPU `stream`, else `text`.
  void load_transformer() { parts_.load_transformer(); }
  void load_autoencoder() { parts_.load_autoencoder(); }

  const ModelFolder& model() const { return parts_.folder(); }

 private:
  Tensor latent_of(const Tensor& image, Size size) const;  // [3, h, w] -> [1, C, H / 8, W / 8], resized

  struct Run;  // what all pictures of one call share
  void show_pictures(Run& run) const;
  models::FluxInput input_of(const Run& run, const Tensor& tokens, double sigma) const;
  Generated make(const Run& run, int64_t index, const Job& job, const DrawNoise& draw) const;

  FluxParts parts_;
};

}  // namespace resflow::generate
