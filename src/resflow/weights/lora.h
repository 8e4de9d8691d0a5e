// Low-rank adapters of FLUX, whichever tool wrote them, as one thing: what is added to which Linear of the model. Sources of the formats: diffusers'
// loaders/lora_conversion_utils.py and lora_pipeline.py, kohya-ss/sd-scripts' networks/lora_flux.py, PEFT's LoraConfig.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "resflow/core/json.h"
#include "resflow/nn/linear.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::weights {

// On one Linear: y += scale * (up(down(x)) + bias).
struct LoraModule {
  std::string name;  // diffusers', "transformer_blocks.0.attn.to_q"
  Tensor down;       // [rank, in], of the file's type
  Tensor up;         // [out, rank]
  Tensor bias;       // [out], or undefined; control adapters have it
  double scale = 1;  // alpha / rank

  int64_t rank() const { return down.size(0); }
};

struct Lora {
  std::filesystem::path path;
  std::string format;               // "peft", "kohya", "x-labs", "bfl", "omini-control"
  std::vector<LoraModule> modules;  // in the order of the file; each name once
  // Tensors of the model that the adapter brings whole: the norms of a control adapter. diffusers' names.
  std::vector<std::pair<std::string, Tensor>> replacements;
  // Modules of text encoders ("CLIP-L", "T5") that the file adapts too: named, and left alone.
  std::map<std::string, int64_t> text_modules;
  nn::LoraTokens tokens = nn::LoraTokens::all;

  int64_t parameter_count() const;  // what modules share counts once
};

// Of any format. Tensors are views of the file where nothing had to be cut or turned. Throws UserError, with how many and the first names, for keys
// that are of no format, half adapters and shapes that contradict each other; and for adapters that are no LoRA (DoRA, LoHa, LoKr).
Lora read_lora(const TensorFile& file);

// {format, tokens, modules, parameters, ranks: {rank: modules}, alphas: {alpha: modules}, replacements, text_modules}
Json lora_summary(const Lora& lora);

}  // namespace resflow::weights
