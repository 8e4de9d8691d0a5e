// What a restoration is told. --help, the manifest and later the server's form are drawn from this list.
#pragma once

#include <string>
#include <vector>

#include "resflow/core/fields.h"
#include "resflow/flow/sampler.h"
#include "resflow/generate/memory.h"
#include "resflow/image/color_fix.h"

namespace resflow::restore {

// What only FLUX is told: other weights for its folder's parts, how the poor picture reaches it, what stays in memory.
struct FluxOptions {
  std::string transformer, t5, vae, preview_vae;
  std::string adapter, control;
  std::vector<std::string> lora;
  std::string condition_fusion = "auto", condition_attention = "auto";
  int64_t control_mode = -1;
  generate::MemoryOptions memory;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("adapter", o.adapter,
          "FLUX: the adapter that reads the poor picture, FILE or FILE:SCALE: what `resflow train` makes (or its run's folder), or OminiControl's");
    visit("control", o.control, "FLUX: a ControlNet in place of an adapter: a file, a folder, or ORG/NAME in Hugging Face's cache");
    visit("control_mode", o.control_mode, "FLUX: the kind of control that a union of ControlNets is shown; -1 = it knows one", Range{-1, 1023});
    visit("lora", o.lora,
          "FLUX: adapters of the transformer beside that, such as one for few steps: FILE or FILE:SCALE, several with commas or by naming the option "
          "again");
    visit("condition_fusion", o.condition_fusion, "FLUX: how the poor picture reaches the transformer; auto = as the files are",
          OneOf{{"auto", "sequence", "addition", "controlnet"}});
    visit("condition_attention", o.condition_attention,
          "FLUX: what the poor picture's tokens attend to: all, or themselves (then computed once a tile); auto = as the adapter was trained",
          OneOf{{"auto", "full", "independent"}});
    visit("transformer", o.transformer, "FLUX: other weights for the folder's transformer: a single file, GGUF or float8");
    visit("t5", o.t5, "FLUX: other weights for the folder's T5 encoder");
    visit("vae", o.vae, "FLUX: other weights for the folder's autoencoder");
    visit("preview_vae", o.preview_vae, "FLUX: a small autoencoder (TAEF1) that previews and searches look through; empty = the model's own");
    generate::MemoryOptions::fields(o.memory, visit);
  }
};

// Which model, where it runs. Fixed while a Restorer lives.
struct ModelOptions {
  std::string model = "compact";
  std::string device = "auto";
  std::string dtype = "auto";
  std::string dr_file;
  FluxOptions flux;  // its fields stand beside the others'

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("model", o.model, "Model: compact (shipped), a file of its kind, or FLUX: a diffusers folder, or ORG/NAME in Hugging Face's cache");
    visit("device", o.device, "auto, cpu, cuda or cuda:N");
    visit("dtype", o.dtype, "Number type: auto (bf16 where it is fast), f32, bf16, f16", OneOf{{"auto", "f32", "bf16", "f16"}});
    visit(
        "dr_file", o.dr_file,
        "Degradation remover in place of the model's own, a network of Real-ESRGAN or SwinIR: real-esrgan (fetched by `resflow pull`), .pth, .ckpt, "
        ".safetensors, ncnn's .bin, X.whl or X.whl:MODEL");
    FluxOptions::fields(o.flux, visit);
  }
};

struct RestoreOptions {
  double scale = 0;
  int64_t width = 0, height = 0;
  int64_t steps = 0;
  int64_t seed = 0;
  double strength = 1;
  double reference_mix = 0.75;
  double sigma_s = 0;
  std::string sampler = "euler";
  std::string color_fix = "none";
  std::string caption;
  double guidance = 3.5;
  std::string condition = "auto";
  double control_scale = 1;
  int64_t max_sequence_length = 512;
  int64_t tile = 0;
  int64_t overlap = 96;
  double max_change = 0;
  std::string on_change = "blend";
  bool checks = true;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("scale", o.scale, "Enlargement; 0 = 4 for pictures under 512 px, else 2; 1 restores in place", Range{0, 16});
    visit("width", o.width, "Width of the result in pixels; with it alone the height follows", Range{0, 65500});
    visit("height", o.height, "Height of the result in pixels; with it alone the width follows", Range{0, 65500});
    visit("steps", o.steps, "Denoising steps; 0 = the model's default (FLUX: 28, or 4 without guidance)", Range{0, 200});
    visit("seed", o.seed, "Seed of the noise: the same seed gives the same picture", Range{0, 9e15});
    visit("strength", o.strength, "How much of the flow is applied: 0 = the degradation remover alone, 1 = all", Range{0, 1});
    visit("reference_mix", o.reference_mix,
          "Share of --dr-file's picture in what the flow starts from, the rest being the model's own remover's: 1 = sharpest, less = nearer to the "
          "truth",
          Range{0, 1});
    visit("sigma_s", o.sigma_s, "compact: start noise: small is faithful, large invents; 0 = the model's default", Range{0, 2});
    visit("sampler", o.sampler, "ODE solver", OneOf{flow::samplers().names()});
    visit("color_fix", o.color_fix, "Colours taken back from the source", OneOf{image::color_fixes().names()});
    visit("caption", o.caption,
          "What the picture shows, in words: for FLUX, and for rewards that compare with a text; for a compact model trained with words: what is "
          "wrong with it, as \"no blur, strong noise\"");
    visit("guidance", o.guidance, "FLUX: scale that the model is fed, where it takes one (dev)", Range{0, 100});
    visit("condition", o.condition,
          "FLUX: what it is shown: the poor picture, enlarged, the degradation remover's, or both (a sequence); auto = as the adapter was trained, "
          "else lq",
          OneOf{{"auto", "lq", "reference", "both"}});
    visit("control_scale", o.control_scale, "FLUX: strength of what a ControlNet adds", Range{0, 10});
    visit("max_sequence_length", o.max_sequence_length, "FLUX: tokens of the caption; another number changes the picture", Range{1, 512});
    visit("tile", o.tile, "Side of a tile in result pixels (memory grows with it), 128 or more; 0 = 512, FLUX: 1024", Range{0, 8192});
    visit("overlap", o.overlap, "Pixels that neighbouring tiles share", Range{16, 2048});
    visit("max_change", o.max_change, "Largest change against the source that is let through, 0..1 (0.06 is just visible); 0 = any", Range{0, 1});
    visit("on_change", o.on_change, "What happens to a larger one: drawn back to the source, or the picture refused", OneOf{{"blend", "refuse"}});
    visit("checks", o.checks, "Look for broken results (no numbers, flat, colour cast, seams, grid) and make such a one again more safely");
  }
};

}  // namespace resflow::restore
