// A model as diffusers lays it out: a folder with model_index.json and one folder a part.
#pragma once

#include <filesystem>
#include <string>

namespace resflow::generate {

struct ModelFolder {
  // `model` is a folder, or a name that is looked up in Hugging Face's cache (weights/hub_cache.h). Throws UserError: not found, no
  // model_index.json, a pipeline that is none of those that `resflow generate` runs, a part that the index does not list or that is not there.
  static ModelFolder open(const std::string& model);

  std::filesystem::path root;
  std::string name;      // "black-forest-labs/FLUX.1-dev", or the folder's
  std::string commit;    // of the cached snapshot; "" for a folder
  std::string pipeline;  // "FluxPipeline"

  // Where a part is: "transformer", "vae", "text_encoder" (CLIP), "text_encoder_2" (T5), "tokenizer", "tokenizer_2", "scheduler".
  std::filesystem::path part(const std::string& part_name) const { return root / part_name; }
};

// Where one part of a model is, for those who want that part alone: `path` itself, a file or a component's folder; or, where it is a pipeline's
// folder (model_index.json, of any class) or names one in Hugging Face's cache, the folder's `part`. Throws UserError: nothing there.
std::filesystem::path find_part(const std::string& path, const std::string& part);

}  // namespace resflow::generate
