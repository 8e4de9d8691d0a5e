#include "resflow/restore/model_name.h"

#include "resflow/core/data_path.h"
#include "resflow/core/error.h"
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

std::vector<std::filesystem::path> model_files(const ModelOptions& options) {
  std::vector<std::filesystem::path> out = {find_model(options.model).path};
  for (const auto& more : {options.flux.adapter, options.flux.control, options.flux.transformer})
    if (!more.empty() && std::filesystem::exists(more)) out.emplace_back(more);
  return out;
}

}  // namespace resflow::restore
