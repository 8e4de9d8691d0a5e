// What a generation is told. --help and the manifest are drawn from these lists.
#pragma once

#include <string>
#include <vector>

#include "resflow/core/fields.h"
#include "resflow/flow/sampler.h"

namespace resflow::generate {

// Which model, where it runs. Fixed while a Generator lives.
struct ModelOptions {
  std::string model = "black-forest-labs/FLUX.1-dev";
  std::string transformer, t5, vae, control;
  std::vector<std::string> lora;
  bool lora_merge = false;
  std::string lora_scope = "auto";
  std::string device = "auto";
  std::string dtype = "auto";

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("model", o.model, "A diffusers folder, or its name in Hugging Face's cache: ORG/NAME or ORG/NAME@REVISION");
    visit("transformer", o.transformer, "Other weights for the folder's transformer: a single file, GGUF or float8");
    visit("t5", o.t5, "Other weights for the folder's T5 encoder");
    visit("vae", o.vae, "Other weights for the folder's autoencoder");
    visit("control", o.control,
          "A ControlNet beside the transformer: a diffusers folder, its name in Hugging Face's cache, or a single file of diffusers or x-labs; it is "
          "shown --control-image");
    visit("lora", o.lora, "Adapters of the transformer: FILE or FILE:SCALE, several with commas or by naming the option again");
    visit("lora_merge", o.lora_merge, "Add adapters to copies of the weights instead of computing them beside");
    visit("lora_scope", o.lora_scope, "Tokens that adapters act on: as each file says, every one, or a condition image's alone",
          OneOf{{"auto", "all", "condition"}});
    visit("device", o.device, "auto, cpu, cuda or cuda:N");
    visit("dtype", o.dtype, "Number type to compute in: auto (bf16 where it is fast), f32, bf16, f16", OneOf{{"auto", "f32", "bf16", "f16"}});
  }
};

struct GenerateOptions {
  int64_t width = 0, height = 0;
  int64_t steps = 0;
  double guidance = 3.5;
  int64_t seed = 0;
  int64_t n = 1;
  std::string sampler = "euler";
  double strength = -1;
  bool reference_resize = true;
  double control_scale = 1, control_start = 0, control_end = 1;
  int64_t control_mode = -1;
  double control_enlarge = 1;
  int64_t max_sequence_length = 512;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("width", o.width, "Width in pixels, a multiple of 16; 0 = 1024, or what fits --image, --reference or --control-image", Range{0, 16384});
    visit("height", o.height, "Height in pixels, a multiple of 16; 0 likewise", Range{0, 16384});
    visit("steps", o.steps, "Denoising steps; 0 = 28, or 4 for a model without guidance (schnell)", Range{0, 200});
    visit("guidance", o.guidance, "Scale that the model is fed, where it takes one (dev)", Range{0, 100});
    visit("seed", o.seed, "Seed of the noise: the same seed gives the same picture; the next pictures of one run take the next seeds",
          Range{0, 9e15});
    visit("n", o.n, "How many pictures", Range{1, 10000});
    visit("sampler", o.sampler, "ODE solver", OneOf{flow::samplers().names()});
    visit("strength", o.strength, "With --image: how much of the way from noise is gone, 1 = all of it; negative = 0.6, or with --mask 1",
          Range{-1, 1});
    visit("reference_resize", o.reference_resize, "Bring --reference to the nearest of the sizes that Kontext was trained on");
    visit("control_scale", o.control_scale, "With --control: what its output is multiplied by", Range{0, 10});
    visit("control_start", o.control_start, "With --control: share of the steps after which it acts", Range{0, 1});
    visit("control_end", o.control_end, "With --control: share of the steps after which it acts no more", Range{0, 1});
    visit("control_mode", o.control_mode, "With --control: the kind of control that a union of several is shown, by its number; -1 = it is no union",
          Range{-1, 1023});
    visit("control_enlarge", o.control_enlarge,
          "With --control-image: where no size is given, the result's is so many times the control image's (upscalers: 4)", Range{1, 64});
    visit("max_sequence_length", o.max_sequence_length, "Tokens of the text; another number changes the picture, padding is attended to",
          Range{1, 512});
  }
};

}  // namespace resflow::generate
