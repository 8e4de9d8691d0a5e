// What a file of SwinIR's tensors says of the network's shape.
#include <fmt/format.h>

#include <cmath>

#include "resflow/core/error.h"
#include "resflow/models/swinir/swin_ir.h"
#include "resflow/weights/view.h"

namespace resflow::models {
namespace {

constexpr int64_t kLargestWindow = 32;  // memory grows with its fourth power

std::string block_name(int64_t group, int64_t block, const char* tensor) {
  return fmt::format("layers.{}.residual_group.blocks.{}.{}", group, block, tensor);
}

[[noreturn]] void fail(const weights::TensorFile& file, const std::string& problem, const std::string& wanted, const std::string& got) {
  throw_user_error({.where = "swinir", .problem = file.path().string() + ": " + problem, .wanted = wanted, .got = got, .hint = "Is the file whole?"});
}

std::vector<int64_t> shape_of(const weights::TensorFile& file, const std::string& name, size_t axes) {
  if (!file.contains(name)) fail(file, "a tensor is missing", name, "none of that name");
  auto shape = file.shape(name);
  if (shape.size() != axes) fail(file, "tensor '" + name + "' has another shape", fmt::format("{} axes", axes), std::to_string(shape.size()));
  return shape;
}

// Side of a square of `area`, or 0 where there is none.
int64_t side_of(int64_t area) {
  const auto side = std::llround(std::sqrt(static_cast<double>(area)));
  return side * side == area ? side : 0;
}

void read_end(const weights::TensorFile& file, SwinIrConfig& config) {
  config.upscale = 1;
  if (file.contains("conv_before_upsample.0.weight")) config.features = shape_of(file, "conv_before_upsample.0.weight", 4)[0];
  if (file.contains("conv_up1.weight")) {
    config.end = SwinIrEnd::nearest_conv;
    for (int i = 1; file.contains(fmt::format("conv_up{}.weight", i)) && i < 16; ++i) config.upscale *= 2;
  } else if (file.contains("conv_before_upsample.0.weight")) {
    config.end = SwinIrEnd::pixel_shuffle;
    for (int i = 0; file.contains(fmt::format("upsample.{}.weight", 2 * i)) && i < 16; ++i) {
      const auto made = shape_of(file, fmt::format("upsample.{}.weight", 2 * i), 4)[0];
      config.upscale *= made == 9 * config.features ? 3 : 2;
    }
  } else if (file.contains("upsample.0.weight")) {
    config.end = SwinIrEnd::pixel_shuffle_direct;
    const auto made = shape_of(file, "upsample.0.weight", 4)[0];
    config.upscale = made % 3 == 0 ? side_of(made / 3) : 0;
  } else {
    config.end = SwinIrEnd::residual;
  }
  const bool fits = config.upscale > 0 && config.upscale % config.unshuffle == 0 && (config.end != SwinIrEnd::residual || config.unshuffle == 1);
  if (!fits)
    fail(file, "the network's scale is no whole number", "an enlargement that makes up for the fold",
         fmt::format("x{} of a picture folded by {}", config.upscale, config.unshuffle));
  if (file.contains("conv_last.weight") && shape_of(file, "conv_last.weight", 4)[0] != 3)
    fail(file, "the network makes no picture of three channels", "3 outputs of conv_last.weight", std::to_string(file.shape("conv_last.weight")[0]));
}

}  // namespace

weights::TensorFile swin_ir_tensors(const weights::TensorFile& file) {
  constexpr std::string_view kParallel = "module.";
  std::vector<weights::ViewTensor> kept;
  for (const auto& name : file.names()) {
    if (name.ends_with(".attn_mask") || name.ends_with(".relative_position_index")) continue;
    kept.push_back({.name = name.starts_with(kParallel) ? name.substr(kParallel.size()) : name, .rows = {{.name = name}}});
  }
  return weights::view_of(file, std::move(kept));
}

std::optional<SwinIrConfig> swin_ir_config(const weights::TensorFile& file) {
  if (!file.contains(block_name(0, 0, "attn.qkv.weight"))) return std::nullopt;
  SwinIrConfig config;
  config.first_name = file.contains("conv_first.1.weight") ? "conv_first.1" : "conv_first";
  const auto first = shape_of(file, config.first_name + ".weight", 4);
  config.width = first[0];
  config.unshuffle = first[1] % 3 == 0 ? side_of(first[1] / 3) : 0;
  if (config.unshuffle == 0)
    fail(file, "the network sees no picture of three channels", "3 x cell x cell inputs of " + config.first_name + ".weight",
         std::to_string(first[1]));
  config.hidden = shape_of(file, block_name(0, 0, "mlp.fc1.weight"), 2)[0];
  const auto reach = side_of(shape_of(file, block_name(0, 0, "attn.relative_position_bias_table"), 2)[0]);
  if (reach % 2 == 0 || reach >= 2 * kLargestWindow)
    fail(file, "the table of relative positions fits no window", fmt::format("(2 window - 1)^2 rows, window at most {}", kLargestWindow),
         std::to_string(file.shape(block_name(0, 0, "attn.relative_position_bias_table"))[0]));
  config.window = (reach + 1) / 2;
  config.depths.clear();
  config.heads.clear();
  while (file.contains(block_name(static_cast<int64_t>(config.depths.size()), 0, "attn.qkv.weight"))) {
    const auto group = static_cast<int64_t>(config.depths.size());
    int64_t depth = 1;
    while (file.contains(block_name(group, depth, "attn.qkv.weight"))) ++depth;
    config.depths.push_back(depth);
    config.heads.push_back(shape_of(file, block_name(group, 0, "attn.relative_position_bias_table"), 2)[1]);
    if (config.heads.back() < 1 || config.width % config.heads.back() != 0)
      fail(file, "the width is no multiple of the heads", std::to_string(config.width), fmt::format("{} heads", config.heads.back()));
  }
  config.three_convolutions = file.contains("conv_after_body.0.weight");
  config.embedding_norm = file.contains("patch_embed.norm.weight");
  read_end(file, config);
  return config;
}

}  // namespace resflow::models
