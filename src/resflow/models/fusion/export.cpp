#include "resflow/models/fusion/export.h"

#include <map>

#include "resflow/core/files.h"
#include "resflow/weights/lora_save.h"
#include "resflow/weights/safetensors.h"

namespace resflow::models {
namespace {

constexpr const char* kConfig = "resflow.fusion";
constexpr std::string_view kDown = ".lora_A.weight", kUp = ".lora_B.weight";

// Those under a prefix, without it.
std::vector<std::pair<std::string, Tensor>> under(const std::vector<std::pair<std::string, Tensor>>& tensors, const std::string& prefix) {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(prefix)) out.emplace_back(name.substr(prefix.size()), tensor);
  return out;
}

weights::Lora lora_of(const std::vector<std::pair<std::string, Tensor>>& tensors, const FusionConfig& config) {
  weights::Lora out;
  out.format = "peft";
  out.tokens = config.lora_tokens();
  const std::map<std::string, Tensor> by_name(tensors.begin(), tensors.end());
  for (const auto& [name, down] : tensors) {
    if (!name.ends_with(kDown)) continue;
    const std::string layer = name.substr(0, name.size() - kDown.size());
    out.modules.push_back({.name = layer, .down = down, .up = by_name.at(layer + std::string(kUp)), .bias = {}, .scale = config.lora_scale()});
  }
  return out;
}

}  // namespace

void export_fusion(const std::filesystem::path& folder, const FluxFusion& fusion, const std::vector<std::pair<std::string, Tensor>>& tensors) {
  const FusionConfig& config = fusion.config();
  if (config.fusion == "controlnet") {
    create_folder(folder / "controlnet");
    weights::write_safetensors(folder / "controlnet" / "diffusion_pytorch_model.safetensors", under(tensors, "controlnet."), {{"format", "pt"}});
    write_text_atomically(folder / "controlnet" / "config.json", fusion.control_config().dump(2) + "\n");
    return;
  }
  weights::write_lora(folder / "adapter.safetensors", lora_of(under(tensors, "lora."), config), "", {{kConfig, fields_to_json(config).dump()}});
  if (config.fusion == "addition") weights::write_safetensors(folder / kConditionEmbedder, under(tensors, "condition_embedder."), {{"format", "pt"}});
}

std::optional<FusionConfig> recorded_fusion(const weights::TensorFile& adapter) {
  const auto found = adapter.metadata().find(kConfig);
  if (found == adapter.metadata().end()) return std::nullopt;
  FusionConfig out;
  const std::string where = adapter.path().string() + ", " + kConfig;
  fields_from_json(out, Json::parse(found->second, nullptr, /*allow_exceptions=*/false), where);
  return out;
}

}  // namespace resflow::models
