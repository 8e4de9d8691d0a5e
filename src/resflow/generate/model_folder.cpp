#include "resflow/generate/model_folder.h"

#include <algorithm>
#include <array>

#include "resflow/core/config_file.h"
#include "resflow/weights/hub_cache.h"

namespace resflow::generate {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 7> kParts = {"transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"};
constexpr const char* kIndex = "model_index.json";
constexpr const char* kIncomplete = "Perhaps an incomplete download?";

fs::path without_slash(const fs::path& path) { return path.has_filename() ? path : path.parent_path(); }

ModelFolder locate(const std::string& model) {
  if (fs::is_directory(model)) return {.root = model, .name = without_slash(fs::absolute(model).lexically_normal()).filename().string()};
  if (fs::exists(model))
    throw_user_error({.where = model,
                      .problem = "a single file is not a whole model",
                      .wanted = "a diffusers folder with model_index.json",
                      .hint = "Name the folder with --model and this file with --transformer, --t5 or --vae"});
  if (weights::is_hub_name(model)) {
    const auto found = weights::find_in_hub_cache(model);
    return {.root = found.folder, .name = found.repository, .commit = found.commit};
  }
  throw_user_error(
      {.where = "model", .problem = "no such folder", .wanted = "a diffusers folder, or ORG/NAME in Hugging Face's cache", .got = model});
}

}  // namespace

ModelFolder ModelFolder::open(const std::string& model) {
  ModelFolder out = locate(model);
  const auto path = out.root / kIndex;
  if (!fs::exists(path))
    throw_user_error({.where = out.root.string(), .problem = "not a diffusers folder", .wanted = kIndex, .got = "no such file", .hint = kIncomplete});
  const Json index = read_json_object(path);
  const auto class_name = index.find("_class_name");
  out.pipeline = class_name != index.end() && class_name->is_string() ? class_name->get<std::string>() : "";
  const std::vector<std::string> known = {"FluxPipeline", "FluxImg2ImgPipeline", "FluxKontextPipeline", "FluxFillPipeline", "FluxControlPipeline"};
  if (std::find(known.begin(), known.end(), out.pipeline) == known.end()) throw_unknown_name("_class_name in " + path.string(), out.pipeline, known);
  for (const char* part : kParts) {
    const auto listed = index.find(part);
    // ["diffusers", "FluxTransformer2DModel"]; [null, null] for a part left out
    const bool there = listed != index.end() && listed->is_array() && listed->size() == 2 && (*listed)[1].is_string();
    if (!there)
      throw_user_error({.where = path.string(),
                        .problem = std::string("the model has no ") + part,
                        .got = listed == index.end() ? "nothing of that name" : listed->dump()});
    if (!fs::is_directory(out.part(part)))
      throw_user_error({.where = out.root.string(),
                        .problem = std::string("a part of the model is missing: ") + part,
                        .wanted = out.part(part).string(),
                        .hint = kIncomplete});
  }
  return out;
}

std::filesystem::path find_part(const std::string& path, const std::string& part) {
  fs::path root = path;
  if (!fs::exists(root)) {
    if (!weights::is_hub_name(path))
      throw_user_error({.where = part,
                        .problem = "no such file or folder",
                        .wanted = "a file of weights, a component's or a pipeline's folder, or ORG/NAME in Hugging Face's cache",
                        .got = path});
    root = weights::find_in_hub_cache(path).folder;
  }
  if (!fs::exists(root / kIndex)) return root;
  if (!fs::is_directory(root / part))
    throw_user_error({.where = root.string(), .problem = "this pipeline has no " + part, .wanted = (root / part).string(), .hint = kIncomplete});
  return root / part;
}

}  // namespace resflow::generate
