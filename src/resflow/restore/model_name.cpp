#include "resflow/restore/model_name.h"

#include "resflow/core/data_path.h"
#include "resflow/core/device.h"
#include "resflow/core/error.h"
#include "resflow/core/memory_use.h"
#include "resflow/weights/hub_cache.h"

namespace resflow::restore {

NamedModel find_model(const std::string& name) {
  if (name == "compact") return {.family = Family::compact, .path = data_file("weights/compact.safetensors")};
  if (std::filesystem::is_directory(name)) return {.family = Family::flux, .path = name};
  if (std::filesystem::exists(name)) return {.family = Family::compact, .path = name};
  if (weights::is_hub_name(name) && std::filesystem::path(name).extension() != ".safetensors")
    return {.family = Family::flux, .path = weights::find_in_hub_cache(name).folder};
  throw_user_error({.where = "model",
                    .problem = "no such model",
                    .wanted = "compact, the path of a weight file, a diffusers folder of FLUX, or ORG/NAME in Hugging Face's cache",
                    .got = name});
}

void prepare_memory(const ModelOptions& options) {
  if (find_model(options.model).family == Family::flux && parse_device(options.device).is_cpu()) return_large_blocks();
}

std::vector<std::filesystem::path> model_files(const ModelOptions& options) {
  std::vector<std::filesystem::path> out = {find_model(options.model).path};
  const auto& flux = options.flux;
  std::vector<std::string> named = {flux.adapter, flux.control, flux.transformer, flux.t5, flux.vae, flux.preview_vae};
  named.insert(named.end(), flux.lora.begin(), flux.lora.end());
  for (const auto& more : named) {
    const auto file = std::filesystem::exists(more) ? more : more.substr(0, more.rfind(':'));  // an adapter's scale may stand behind it
    if (!file.empty() && std::filesystem::exists(file)) out.emplace_back(file);
  }
  return out;
}

}  // namespace resflow::restore
