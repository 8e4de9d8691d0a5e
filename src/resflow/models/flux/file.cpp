#include "resflow/models/flux/file.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/config_file.h"
#include "resflow/core/parse_json.h"
#include "resflow/weights/flux_names.h"

namespace resflow::models {
namespace {

constexpr const char* kMetadata = "resflow.config";  // in files that resflow converted

int64_t size_of(const weights::TensorFile& file, const std::string& name, size_t axis) {
  if (!file.contains(name) || file.shape(name).size() <= axis)
    throw_user_error({.where = "FLUX",
                      .problem = fmt::format("{}: no tensor '{}' to tell the model's shape by", file.path().string(), name),
                      .hint = "Perhaps an incomplete file?"});
  return file.shape(name)[axis];
}

int64_t count_of(const weights::TensorFile& file, const std::string& blocks, const std::string& mark) {
  int64_t out = 0;
  while (file.contains(fmt::format("{}.{}.{}", blocks, out, mark))) ++out;
  return out;
}

}  // namespace

FluxConfig flux_config_of(const weights::TensorFile& file) {
  FluxConfig out;
  if (const auto found = file.metadata().find(kMetadata); found != file.metadata().end()) {
    const Json json = parse_json(found->second);
    if (!json.is_object())
      throw_user_error({.where = file.path().string(), .problem = std::string("bad metadata ") + kMetadata, .wanted = "a JSON object"});
    config_from_json(out, json, file.path().string());
    return out;
  }
  out.in_channels = size_of(file, "x_embedder.weight", 1);
  out.joint_attention_dim = size_of(file, "context_embedder.weight", 1);
  out.pooled_projection_dim = size_of(file, "time_text_embed.text_embedder.linear_1.weight", 1);
  out.guidance_embeds = file.contains("time_text_embed.guidance_embedder.linear_1.weight");
  out.num_layers = count_of(file, "transformer_blocks", "attn.norm_q.weight");
  out.num_single_layers = count_of(file, "single_transformer_blocks", "attn.norm_q.weight");
  const int64_t tokens = size_of(file, "proj_out.weight", 0), width = size_of(file, "x_embedder.weight", 0);
  if (tokens != out.in_channels) out.out_channels = tokens;
  const int64_t head =
      size_of(file, out.num_layers > 0 ? "transformer_blocks.0.attn.norm_q.weight" : "single_transformer_blocks.0.attn.norm_q.weight", 0);
  if (head < 16 || head % 16 != 0 || width % head != 0)
    throw_user_error({.where = "FLUX",
                      .problem = file.path().string() + ": a head that positions cannot be shared out in",
                      .wanted = fmt::format("a multiple of 16 that divides the model's width, {}", width),
                      .got = std::to_string(head),
                      .hint = "A folder with config.json tells it (axes_dims_rope)"});
  out.attention_head_dim = head;
  out.num_attention_heads = width / head;
  const int64_t second = head * 7 / 16 / 2 * 2;
  out.axes_dims_rope = {head - 2 * second, second, second};
  out.check(file.path().string());
  return out;
}

Json flux_config_json(const FluxConfig& config) {
  Json out = fields_to_json(config);
  if (config.out_channels == 0) out["out_channels"] = nullptr;
  return out;
}

FluxFile open_flux(const std::filesystem::path& path) {
  auto weights = weights::flux_as_diffusers(weights::TensorFile::open(path));
  const auto folder = std::filesystem::is_directory(path) ? path : path.parent_path();
  const bool shards = path.string().ends_with(".index.json");
  if ((std::filesystem::is_directory(path) || shards) && std::filesystem::exists(folder / "config.json"))
    return {.config = read_config<FluxConfig>(folder / "config.json"), .weights = std::move(weights)};
  auto config = flux_config_of(weights);
  return {.config = std::move(config), .weights = std::move(weights)};
}

}  // namespace resflow::models
