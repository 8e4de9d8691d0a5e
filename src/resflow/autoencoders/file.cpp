#include "resflow/autoencoders/file.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/config_file.h"
#include "resflow/weights/autoencoder_names.h"

namespace resflow::autoencoders {
namespace {

int64_t size_of(const weights::TensorFile& file, const std::string& name, size_t axis) {
  if (!file.contains(name) || file.shape(name).size() <= axis)
    throw_user_error({.where = "autoencoder",
                      .problem = fmt::format("{}: no tensor '{}' to tell the model's shape by", file.path().string(), name),
                      .hint = "Perhaps an incomplete file?"});
  return file.shape(name)[axis];
}

}  // namespace

Json autoencoder_config_of(const weights::TensorFile& file) {
  const auto there = [&](const std::string& name) { return file.contains(name); };
  if (there("decoder.layers.0.weight")) return {{"_class_name", "AutoencoderTiny"}, {"latent_channels", size_of(file, "decoder.layers.0.weight", 1)}};
  Json widths = Json::array(), down = Json::array(), up = Json::array();
  for (int64_t i = 0; there(fmt::format("encoder.down_blocks.{}.resnets.0.conv1.weight", i)); ++i) {
    widths.push_back(size_of(file, fmt::format("encoder.down_blocks.{}.resnets.0.conv1.weight", i), 0));
    down.push_back("DownEncoderBlock2D");
    up.push_back("UpDecoderBlock2D");
  }
  int64_t layers = 0;
  while (there(fmt::format("encoder.down_blocks.0.resnets.{}.conv1.weight", layers))) ++layers;
  const int64_t latent = size_of(file, "decoder.conv_in.weight", 1);
  if (latent != 16 && latent != 4)
    throw_user_error({.where = "autoencoder",
                      .problem = file.path().string() + ": a latent whose scale is not known",
                      .wanted = "16 channels (FLUX) or 4 (Stable Diffusion)",
                      .got = std::to_string(latent),
                      .hint = "A folder with config.json tells it (scaling_factor, shift_factor)"});
  return {{"_class_name", "AutoencoderKL"},
          {"down_block_types", down},
          {"up_block_types", up},
          {"block_out_channels", widths},
          {"layers_per_block", layers},
          {"latent_channels", latent},
          {"scaling_factor", latent == 16 ? 0.3611 : 0.18215},
          {"shift_factor", latent == 16 ? 0.1159 : 0.0},
          {"use_quant_conv", there("quant_conv.weight")},
          {"use_post_quant_conv", there("post_quant_conv.weight")},
          {"mid_block_add_attention", there("decoder.mid_block.attentions.0.to_q.weight")}};
}

std::unique_ptr<Autoencoder> load_autoencoder(const std::filesystem::path& path, const weights::Conversion& conversion) {
  const auto found = weights::TensorFile::open(path);
  const auto file = weights::has_autoencoder(found) ? weights::autoencoder_as_diffusers(found) : found;
  const bool folder = std::filesystem::is_directory(path);
  const auto beside = path / "config.json";
  auto model = folder && std::filesystem::exists(beside) ? make_autoencoder(read_json_object(beside), beside.string())
                                                         : make_autoencoder(autoencoder_config_of(file), path.string());
  weights::load_strict(*model, file, "", conversion);
  return model;
}

}  // namespace resflow::autoencoders
