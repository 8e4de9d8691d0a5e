#include "resflow/generate/flux_parts.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/config_file.h"
#include "resflow/core/device.h"
#include "resflow/generate/conditions.h"
#include "resflow/generate/part_weights.h"
#include "resflow/weights/autoencoder_names.h"

namespace resflow::generate {
namespace {

std::filesystem::path config_file(const ModelFolder& model, const char* part) { return model.part(part) / "config.json"; }

}  // namespace

FluxParts::~FluxParts() = default;

FluxParts::FluxParts(const ModelOptions& options, const MemoryOptions& memory)
    : options_(options),
      memory_(memory),
      folder_(ModelFolder::open(options.model)),
      device_(parse_device(options.device)),
      dtype_(parse_dtype(options.dtype, device_)) {
  check_fields(options);
  check_fields(memory);
  const auto vae = config_file(folder_, "vae"), scheduler = folder_.part("scheduler") / "scheduler_config.json";
  schedule_ = read_config<flow::FlowMatchEuler>(scheduler);
  schedule_.check(scheduler.string());
  autoencoder_ = autoencoders::make_autoencoder(read_json_object(vae), vae.string());
  files_ = std::make_unique<const DenoiserFiles>(
      open_denoiser(options, folder_, {.channels = autoencoder_->latent_channels(), .reduction = autoencoder_->reduction()}));
}

ModelFacts FluxParts::facts() const {
  return {.multiple = autoencoder_->reduction() * kPatch,
          .guidance = files_->config.guidance_embeds,
          .beside = files_->beside,
          .control_net = files_->control.has_value(),
          .control_modes = files_->control ? files_->control->config.num_mode : 0};
}

Decision FluxParts::choose(const Work& work) {
  const Decision found = decide(needs(work), memory_, free_memory(device_));
  if (!decision_) decision_ = found;
  return *decision_;
}

std::optional<Decision> FluxParts::settle(const Work& work) {
  if (!decision_ && (!memory_.max_vram.empty() || (memory_.offload == "auto" && !device_.is_cpu()))) return choose(work);
  return std::nullopt;
}

Offload FluxParts::mode() const {
  if (decision_) return decision_->mode;
  if (memory_.offload == "auto") return device_.is_cpu() ? Offload::stream : Offload::text;
  return offload_of(memory_.offload);
}

TextFeatures FluxParts::read_text(const std::string& text, int64_t length, const Job& job) {
  const Offload how = transformer_ && mode() == Offload::text ? Offload::stream : mode();
  TextFeatures out = encode_text(folder_, text, length, {.device = device_, .dtype = dtype_, .t5 = options_.t5, .offload = how}, job, &encoders_);
  const int64_t width = out.tokens.size(2), pooled = out.pooled.size(1);
  if (width != config().joint_attention_dim || pooled != config().pooled_projection_dim)
    throw_user_error({.where = folder_.root.string(),
                      .problem = "the text encoders are not this transformer's",
                      .wanted = fmt::format("T5 of {}, CLIP of {}", config().joint_attention_dim, config().pooled_projection_dim),
                      .got = fmt::format("{} and {}", width, pooled)});
  return out;
}

std::filesystem::path FluxParts::autoencoder_path() const { return options_.vae.empty() ? folder_.part("vae") : std::filesystem::path(options_.vae); }

void FluxParts::load_transformer() {
  if (transformer_) return;
  const auto conversion = [&](const weights::TensorFile& file) { return transformer_conversion(file, device_, dtype_, mode()); };
  auto model = std::make_unique<models::FluxTransformer>(files_->config);
  weights::load_strict(*model, files_->transformer, "", conversion(files_->transformer));
  for (const auto& choice : files_->loras) weights::attach(*model, choice.lora, choice.use);
  if (mode() == Offload::stream) model->stream_blocks(device_);
  if (const auto& control = files_->control) {
    control_ = std::make_unique<models::FluxControlNet>(control->config);
    weights::load_strict(*control_, control->weights, "", conversion(control->weights));
    if (mode() == Offload::stream) control_->stream_blocks(device_);
  }
  transformer_ = std::move(model);
}

void FluxParts::load_autoencoder() {
  if (autoencoder_loaded_) return;
  const auto file = weights::TensorFile::open(autoencoder_path());
  const auto dtype = device_.is_cuda() && dtype_ == at::kBFloat16 ? at::kBFloat16 : at::kFloat;
  weights::load_strict(*autoencoder_, weights::has_autoencoder(file) ? weights::autoencoder_as_diffusers(file) : file, "",
                       {.dtype = dtype, .device = device_});
  autoencoder_loaded_ = true;
}

models::FluxTransformer& FluxParts::transformer() const {
  TORCH_CHECK(transformer_, "FluxParts: the transformer was not loaded");
  return *transformer_;
}

}  // namespace resflow::generate
