// The files that CLIP comes in, read under one naming: Hugging Face's. Two namings are known: theirs (transformers: CLIPModel,
// CLIPTextModel) and OpenAI's own, which open_clip writes too.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "resflow/core/json.h"
#include "resflow/nn/module.h"
#include "resflow/weights/load.h"

namespace resflow::text {

// What the shapes of a tower's tensors do not tell.
struct ClipTower {
  int64_t heads = 0;       // 0: one for each 64 of the width, as in every published model
  bool quick_gelu = true;  // x sigmoid(1.702 x), OpenAI's; else the exact GELU
  double eps = 1e-5;       // of the layer norms
  int64_t end_token = 2;   // text: where the pooled output stands; 2 = at the largest number (a mistake in old files that all follow)
};

class ClipFile {
 public:
  // A folder with model.safetensors (or open_clip_model.safetensors, pytorch_model.bin) and config.json, or one file of tensors; without a
  // configuration, OpenAI's. Throws UserError.
  static ClipFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const ClipTower& text() const { return text_; }
  const ClipTower& vision() const { return vision_; }

  bool contains(std::string_view name) const { return origins_.contains(std::string(name)); }
  Tensor get(std::string_view name) const;  // Throws UserError where absent.
  // How many modules are numbered after a prefix: "text_model.encoder.layers." -> 12.
  int64_t count(std::string_view prefix) const;

  // Fills the module, as float32 on `device`. Nothing may be missing, and under the `families`, such as "text_model.", nothing left over but
  // position_ids (a table of 0, 1, 2, ... in old files) and num_batches_tracked (of the training). Throws UserError.
  void load(nn::Module& module, std::initializer_list<std::string_view> families, c10::Device device = c10::kCPU) const;
  // What load() takes on the CPU, found without reading a tensor.
  weights::Footprint footprint(const nn::Module& module) const;

 private:
  // Where in the file a tensor stands: as it is, turned, or as one of three stacked projections.
  struct Origin {
    std::string name;
    bool turned = false;
    int third = -1;
  };
  explicit ClipFile(weights::TensorFile file) : file_(std::move(file)) {}
  void configure(const std::filesystem::path& folder);
  void add(const std::string& name);

  weights::TensorFile file_;
  std::map<std::string, Origin> origins_;
  ClipTower text_, vision_;
};

}  // namespace resflow::text
