#include "resflow/text/clip_file.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <set>
#include <utility>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/core/parse_json.h"
#include "resflow/weights/view.h"

namespace resflow::text {
namespace {

namespace fs = std::filesystem;
using Renaming = std::pair<std::string_view, std::string_view>;

// OpenAI's name -> Hugging Face's. Whole names and beginnings; then what stands inside a layer.
constexpr std::array<Renaming, 14> kBeginnings = {{
    {"visual.class_embedding", "vision_model.embeddings.class_embedding"},
    {"visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"},
    {"visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"},
    {"visual.ln_pre.", "vision_model.pre_layrnorm."},
    {"visual.ln_post.", "vision_model.post_layernorm."},
    {"visual.transformer.resblocks.", "vision_model.encoder.layers."},
    {"visual.proj", "visual_projection.weight"},
    {"token_embedding.weight", "text_model.embeddings.token_embedding.weight"},
    {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
    {"transformer.resblocks.", "text_model.encoder.layers."},
    {"ln_final.", "text_model.final_layer_norm."},
    {"text_projection", "text_projection.weight"},
    {"logit_scale", "logit_scale"},
    {"visual.", "visual."},  // a ResNet: read by its own names
}};
constexpr std::array<Renaming, 6> kInside = {{
    {".attn.out_proj.", ".self_attn.out_proj."},
    {".attn.in_proj_", ".self_attn.*_proj."},
    {".ln_1.", ".layer_norm1."},
    {".ln_2.", ".layer_norm2."},
    {".mlp.c_fc.", ".mlp.fc1."},
    {".mlp.c_proj.", ".mlp.fc2."},
}};

// "" where OpenAI's naming has no such tensor (the sizes that its files list beside the weights).
std::string hugging_face_name(std::string_view name, bool resnet) {
  for (const auto& [theirs, ours] : kBeginnings) {
    if (!name.starts_with(theirs) || (resnet && theirs.starts_with("visual.") && theirs != "visual.")) continue;
    std::string out = std::string(ours) + std::string(name.substr(theirs.size()));
    if (!theirs.ends_with("resblocks.")) return out;
    for (const auto& [inside, replacement] : kInside)
      if (const auto at = out.find(inside); at != std::string::npos) return out.replace(at, inside.size(), replacement);
    return out;
  }
  return "";
}

// CLIP within an all-in-one file ("text_encoders.clip_l.transformer.").
weights::TensorFile without_prefix(const weights::TensorFile& file) {
  constexpr std::string_view kMark = "text_model.encoder.layers.0.mlp.fc1.weight";
  for (const auto& name : file.names())
    if (name.ends_with("." + std::string(kMark))) return weights::without_prefix(file, name.substr(0, name.size() - kMark.size()));
  return file;
}

fs::path weights_in(const fs::path& folder) {
  for (const char* name : {"model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors", "pytorch_model.bin"})
    if (fs::exists(folder / name)) return folder / name;
  throw_user_error({.where = folder.string(), .problem = "no weights in this folder", .wanted = "model.safetensors", .got = "none"});
}

void read_tower(const Json& config, const std::string& where, ClipTower& tower) {
  try {
    tower.heads = config.value("num_attention_heads", tower.heads);
    tower.eps = config.value("layer_norm_eps", tower.eps);
    tower.end_token = config.value("eos_token_id", tower.end_token);
    const auto activation = config.value("hidden_act", std::string("quick_gelu"));
    if (activation != "quick_gelu" && activation != "gelu")
      throw_user_error({.where = where, .problem = "unknown hidden_act", .wanted = "quick_gelu or gelu", .got = activation});
    tower.quick_gelu = activation == "quick_gelu";
  } catch (const Json::exception& error) {
    throw_user_error({.where = where, .problem = "not CLIP's configuration", .got = error.what()});
  }
}

}  // namespace

ClipFile ClipFile::open(const fs::path& path) {
  const bool folder = fs::is_directory(path);
  ClipFile out(without_prefix(weights::TensorFile::open(folder ? weights_in(path) : path)));
  for (const auto& name : out.file_.names()) out.add(name);
  if (folder) out.configure(path);
  return out;
}

void ClipFile::configure(const fs::path& folder) {
  const auto read = [](const fs::path& path) {
    Json json = parse_json(read_text(path));
    if (!json.is_object()) throw_user_error({.where = path.string(), .problem = "not a configuration", .wanted = "a JSON object"});
    return json;
  };
  if (const auto path = folder / "config.json"; fs::exists(path)) {
    const Json config = read(path);
    const auto part = [&](const char* name) { return config.contains(name) ? config[name] : config; };
    read_tower(part("text_config"), path.string(), text_);
    read_tower(part("vision_config"), path.string(), vision_);
  } else if (const auto other = folder / "open_clip_config.json"; fs::exists(other)) {
    const Json config = read(other);
    text_.quick_gelu = vision_.quick_gelu = config.value("/model_cfg/quick_gelu"_json_pointer, false);
  }
}

void ClipFile::add(const std::string& name) {
  if (name.starts_with("text_model.") || name.starts_with("vision_model.") || name == "visual_projection.weight" ||
      name == "text_projection.weight") {
    origins_[name] = {name};
  } else if (name.starts_with("embeddings.") || name.starts_with("encoder.") || name.starts_with("final_layer_norm.")) {
    origins_["text_model." + name] = {name};  // a text tower saved alone by transformers 5
  } else if (std::string renamed = hugging_face_name(name, file_.contains("visual.layer1.0.conv1.weight")); !renamed.empty()) {
    const auto stacked = renamed.find("*_proj.");
    if (stacked == std::string::npos) {
      // OpenAI multiplies with its projections from the right.
      origins_[renamed] = {.name = name, .turned = name == "visual.proj" || name == "text_projection"};
    } else {
      constexpr std::string_view kOrder = "qkv";
      for (int i = 0; i < 3; ++i) origins_[renamed.replace(stacked, 1, 1, kOrder[static_cast<size_t>(i)])] = {.name = name, .third = i};
    }
  }
}

Tensor ClipFile::get(std::string_view name) const {
  const auto found = origins_.find(std::string(name));
  if (found == origins_.end())
    throw_user_error({.where = path().string(), .problem = "tensor '" + std::string(name) + "' is missing", .hint = "Is this a CLIP file?"});
  const Tensor tensor = file_.get(found->second.name);
  if (found->second.third >= 0) return tensor.chunk(3).at(static_cast<size_t>(found->second.third));
  return found->second.turned ? tensor.t() : tensor;
}

int64_t ClipFile::count(std::string_view prefix) const {
  std::set<std::string> numbers;
  for (const auto& [name, origin] : origins_)
    if (name.starts_with(prefix)) numbers.insert(name.substr(prefix.size(), name.find('.', prefix.size()) - prefix.size()));
  return static_cast<int64_t>(numbers.size());
}

weights::Footprint ClipFile::footprint(const nn::Module& module) const {
  weights::Footprint out;
  for (const auto& parameter : module.named_parameters()) {
    const auto found = origins_.find(parameter.name);
    if (found == origins_.end()) continue;  // load() says so
    const auto& origin = found->second;
    const int64_t bytes = c10::multiply_integers(parameter.shape) * static_cast<int64_t>(sizeof(float));
    (file_.dtype(origin.name) == at::kFloat && !origin.turned && origin.third < 0 ? out.mapped : out.copied) += bytes;
  }
  return out;
}

void ClipFile::load(nn::Module& module, std::initializer_list<std::string_view> families, c10::Device device) const {
  const auto parameters = module.named_parameters();
  std::set<std::string> wanted;
  for (const auto& parameter : parameters) {
    const Tensor tensor = get(parameter.name);
    if (tensor.sizes() != at::IntArrayRef(parameter.shape))
      throw_user_error({.where = path().string(),
                        .problem = "tensor '" + parameter.name + "' has the wrong shape",
                        .wanted = fmt::format("[{}]", fmt::join(parameter.shape, ", ")),
                        .got = fmt::format("[{}]", fmt::join(tensor.sizes(), ", "))});
    // A parameter of number type other than float is a counter that nothing reads.
    const Tensor moved = tensor.to(device);
    *parameter.slot = moved.is_floating_point() ? moved.to(at::kFloat).contiguous() : moved;
    wanted.insert(parameter.name);
  }
  for (const auto& [name, origin] : origins_)
    for (const auto family : families)
      if (name.starts_with(family) && !wanted.contains(name) && !name.ends_with("position_ids") && !name.ends_with("num_batches_tracked"))
        throw_user_error({.where = path().string(),
                          .problem = "tensor '" + origin.name + "' has no place in the model",
                          .hint = "Is this the file of another kind of CLIP?"});
}

}  // namespace resflow::text
