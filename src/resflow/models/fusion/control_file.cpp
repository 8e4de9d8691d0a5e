#include "resflow/models/fusion/control_file.h"

#include <fmt/format.h>

#include "resflow/core/config_file.h"
#include "resflow/weights/flux_names.h"
#include "resflow/weights/view.h"

namespace resflow::models {
namespace {

constexpr const char* kMark = "controlnet_blocks.0.weight";
constexpr int64_t kHintBlocks = 6;

int64_t size_of(const weights::TensorFile& file, const std::string& name, size_t axis) {
  if (!file.contains(name) || file.shape(name).size() <= axis)
    throw_user_error({.where = "ControlNet",
                      .problem = fmt::format("{}: no tensor '{}' to tell the model's shape by", file.path().string(), name),
                      .hint = "Perhaps an incomplete file?"});
  return file.shape(name)[axis];
}

int64_t count_of(const weights::TensorFile& file, const std::string& list) {
  int64_t out = 0;
  while (file.contains(fmt::format("{}.{}.weight", list, out))) ++out;
  return out;
}

// x-labs' own parts under diffusers' names; all others as they are. The picture's network is a list of convolutions with activations between.
std::string own_part(const std::string& name) {
  const auto replaced = [&](const std::string& theirs, const std::string& ours) { return ours + name.substr(theirs.size()); };
  if (name.starts_with("pos_embed_input.")) return replaced("pos_embed_input.", "controlnet_x_embedder.");
  for (int64_t i = 0; i < kHintBlocks + 2; ++i) {
    const auto theirs = fmt::format("input_hint_block.{}.", 2 * i);
    if (!name.starts_with(theirs)) continue;
    const auto part = i == 0 ? "conv_in" : i == kHintBlocks + 1 ? "conv_out" : fmt::format("blocks.{}", i - 1);
    return replaced(theirs, "input_hint_block." + part + ".");
  }
  return name;
}

weights::TensorFile as_diffusers(const weights::TensorFile& file) {
  auto named = weights::flux_as_diffusers(file);
  if (!named.contains("pos_embed_input.weight")) return named;
  std::vector<weights::ViewTensor> out;
  for (const auto& name : named.names()) out.push_back({.name = own_part(name), .rows = {{.name = name}}});
  return weights::view_of(named, std::move(out));
}

FluxControlConfig measured(const weights::TensorFile& file) {
  FluxControlConfig out;
  FluxConfig& trunk = out.trunk;
  trunk.in_channels = size_of(file, "controlnet_x_embedder.weight", 1);
  trunk.joint_attention_dim = size_of(file, "context_embedder.weight", 1);
  trunk.pooled_projection_dim = size_of(file, "time_text_embed.text_embedder.linear_1.weight", 1);
  trunk.guidance_embeds = file.contains("time_text_embed.guidance_embedder.linear_1.weight");
  trunk.num_layers = count_of(file, "controlnet_blocks");
  trunk.num_single_layers = count_of(file, "controlnet_single_blocks");
  const int64_t width = size_of(file, "x_embedder.weight", 0), head = size_of(file, "transformer_blocks.0.attn.norm_q.weight", 0);
  if (head < 16 || head % 16 != 0 || width % head != 0)
    throw_user_error({.where = "ControlNet",
                      .problem = file.path().string() + ": a head that positions cannot be shared out in",
                      .wanted = fmt::format("a multiple of 16 that divides the model's width, {}", width),
                      .got = std::to_string(head),
                      .hint = "A folder with config.json tells it (axes_dims_rope)"});
  trunk.attention_head_dim = head;
  trunk.num_attention_heads = width / head;
  const int64_t second = head * 7 / 16 / 2 * 2;
  trunk.axes_dims_rope = {head - 2 * second, second, second};
  if (file.contains("controlnet_mode_embedder.weight")) out.num_mode = size_of(file, "controlnet_mode_embedder.weight", 0);
  if (file.contains("input_hint_block.conv_out.weight")) {
    out.conditioning_embedding_channels = size_of(file, "input_hint_block.conv_out.weight", 0);
    trunk.patch_size = 2;  // of the embedded picture, an eighth of the result's size
  }
  trunk.check(file.path().string());
  return out;
}

}  // namespace

bool has_flux_control(const weights::TensorFile& file) { return file.contains(kMark) && weights::find_flux(file).has_value(); }

FluxControlFile open_flux_control(const std::filesystem::path& path) {
  const auto file = weights::TensorFile::open(path);
  if (!has_flux_control(file))
    throw_user_error({.where = "ControlNet",
                      .problem = path.string() + ": no ControlNet for FLUX",
                      .wanted = fmt::format("'{}' beside FLUX's blocks", kMark),
                      .hint = "`resflow inspect` says what a file is"});
  auto weights = as_diffusers(file);
  if (std::filesystem::is_directory(path) && std::filesystem::exists(path / "config.json"))
    return {.config = read_config<FluxControlConfig>(path / "config.json"), .weights = std::move(weights)};
  auto config = measured(weights);
  return {.config = std::move(config), .weights = std::move(weights)};
}

Json flux_control_config_json(const FluxControlConfig& config) {
  Json out = fields_to_json(config);
  for (const char* name : {"num_mode", "conditioning_embedding_channels"})
    if (out[name] == 0) out[name] = nullptr;
  out.erase("out_channels");  // diffusers' ControlNet has none
  return out;
}

}  // namespace resflow::models
