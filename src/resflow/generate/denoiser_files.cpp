#include "resflow/generate/denoiser_files.h"

#include <fmt/format.h>

#include "resflow/core/config_file.h"
#include "resflow/generate/conditions.h"
#include "resflow/models/flux/transformer.h"
#include "resflow/weights/flux_names.h"

namespace resflow::generate {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIn = "x_embedder.weight";
constexpr const char* kOut = "proj_out.weight";

int64_t width_of(const weights::TensorFile& file, const char* name, size_t axis, int64_t otherwise) {
  return file.contains(name) && file.shape(name).size() == 2 ? file.shape(name)[axis] : otherwise;
}

void take_widths(models::FluxConfig& config, const weights::TensorFile& file) {
  const int64_t out = width_of(file, kOut, 0, config.token_out());
  config.in_channels = width_of(file, kIn, 1, config.in_channels);
  config.out_channels = out == config.in_channels ? 0 : out;
}

// With what the adapters add.
int64_t widened(const models::FluxConfig& config, const std::vector<weights::LoraChoice>& loras) {
  int64_t out = config.in_channels;
  for (const auto& choice : loras)
    for (const auto& module : choice.lora.modules)
      if (module.name == "x_embedder") out = std::max(out, module.down.size(1));
  return out;
}

Beside beside_of(int64_t token_in, const models::FluxConfig& config, const LatentShape& latent, const std::string& where) {
  const int64_t plain = latent.channels * kPatch * kPatch, mask = kPatch * kPatch * latent.reduction * latent.reduction;
  if (config.token_out() == plain) {
    if (token_in == plain) return Beside::nothing;
    if (token_in == 2 * plain) return Beside::control;
    if (token_in == 2 * plain + mask) return Beside::fill;
  }
  throw_user_error({.where = where,
                    .problem = "tokens of another width than the autoencoder's latents make",
                    .wanted = fmt::format("{0} out and {0} in, or {1} with a control image, or {2} with a picture and its mask", plain, 2 * plain,
                                          2 * plain + mask),
                    .got = fmt::format("{} in, {} out", token_in, config.token_out())});
}

void check_control(const DenoiserFiles& files, const LatentShape& latent) {
  const auto& own = files.control->config.trunk;
  const auto text = [](int64_t width, int64_t token, const models::FluxConfig& config) {
    return fmt::format("width {}, tokens of {}, texts of {} and {}", width, token, config.joint_attention_dim, config.pooled_projection_dim);
  };
  const auto wanted = text(files.config.width(), latent.channels * kPatch * kPatch, files.config), got = text(own.width(), own.in_channels, own);
  if (wanted != got)
    throw_user_error(
        {.where = files.control_path.string(), .problem = "a ControlNet of another model than the transformer", .wanted = wanted, .got = got});
  if (files.beside != Beside::nothing)
    throw_user_error({.where = files.control_path.string(),
                      .problem = "a ControlNet beside a model that is shown a picture of its own",
                      .wanted = "a plain FLUX.1 transformer (dev, schnell)",
                      .got = files.beside == Beside::fill ? "a Fill model" : "a Control model"});
}

}  // namespace

DenoiserFiles open_denoiser(const ModelOptions& options, const ModelFolder& folder, const LatentShape& latent) {
  const fs::path config_path = folder.part("transformer") / "config.json";
  auto config = read_config<models::FluxConfig>(config_path);
  config.check(config_path.string());
  const bool other = !options.transformer.empty();
  const fs::path path = other ? fs::path(options.transformer) : folder.part("transformer");
  DenoiserFiles out{.config = std::move(config),
                    .path = path,
                    .transformer = weights::flux_as_diffusers(weights::TensorFile::open(path)),
                    .loras = weights::open_loras(options.lora, options.lora_merge, options.lora_scope)};
  if (other) take_widths(out.config, out.transformer);
  const models::FluxTransformer shape(out.config);
  for (const auto& choice : out.loras) weights::check_fits(shape, choice.lora);
  out.token_in = widened(out.config, out.loras);
  out.beside = beside_of(out.token_in, out.config, latent, other ? path.string() : config_path.string());
  if (options.control.empty()) return out;
  out.control_name = options.control;
  out.control_path = find_part(options.control, "controlnet");
  out.control = models::open_flux_control(out.control_path);
  check_control(out, latent);
  return out;
}

}  // namespace resflow::generate
