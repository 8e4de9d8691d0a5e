#include "resflow/generate/flux_parts.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/config_file.h"
#include "resflow/core/device.h"
#include "resflow/generate/part_weights.h"
#include "resflow/weights/autoencoder_names.h"
#include "resflow/weights/flux_names.h"

namespace resflow::generate {
namespace {

constexpr int64_t kPatch = 2;  // latent pixels along a token's side

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
  const auto transformer = config_file(folder_, "transformer"), vae = config_file(folder_, "vae");
  const auto scheduler = folder_.part("scheduler") / "scheduler_config.json";
  config_ = read_config<models::FluxConfig>(transformer);
  config_.check(transformer.string());
  schedule_ = read_config<flow::FlowMatchEuler>(scheduler);
  schedule_.check(scheduler.string());
  autoencoder_ = autoencoders::make_autoencoder(read_json_object(vae), vae.string());
  loras_ = weights::open_loras(options.lora, options.lora_merge, options.lora_scope);
  const models::FluxTransformer shape(config_);
  for (const auto& choice : loras_) weights::check_fits(shape, choice.lora);
  const int64_t wanted = autoencoder_->latent_channels() * kPatch * kPatch;
  if (config_.in_channels != wanted || config_.token_out() != wanted)
    throw_user_error({.where = transformer.string(),
                      .problem = "tokens of another width than the autoencoder's latents make",
                      .wanted = fmt::format("in_channels {0} and as many out", wanted),
                      .got = fmt::format("{} in, {} out", config_.in_channels, config_.token_out()),
                      .hint = "Models that take a control image or a mask beside the latent (Fill, Control) are not run here"});
}

ModelFacts FluxParts::facts() const { return {.multiple = autoencoder_->reduction() * kPatch, .guidance = config_.guidance_embeds}; }

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
  if (width != config_.joint_attention_dim || pooled != config_.pooled_projection_dim)
    throw_user_error({.where = folder_.root.string(),
                      .problem = "the text encoders are not this transformer's",
                      .wanted = fmt::format("T5 of {}, CLIP of {}", config_.joint_attention_dim, config_.pooled_projection_dim),
                      .got = fmt::format("{} and {}", width, pooled)});
  return out;
}

std::filesystem::path FluxParts::transformer_path() const {
  return options_.transformer.empty() ? folder_.part("transformer") : std::filesystem::path(options_.transformer);
}

std::filesystem::path FluxParts::autoencoder_path() const { return options_.vae.empty() ? folder_.part("vae") : std::filesystem::path(options_.vae); }

void FluxParts::load_transformer() {
  if (transformer_) return;
  auto model = std::make_unique<models::FluxTransformer>(config_);
  const auto file = weights::TensorFile::open(transformer_path());
  weights::load_strict(*model, weights::flux_as_diffusers(file), "", transformer_conversion(file, device_, dtype_, mode()));
  for (const auto& choice : loras_)
    if (weights::attach(*model, choice.lora, choice.use).widened.linear != nullptr)
      throw_user_error({.where = choice.lora.path.string(),
                        .problem = "an adapter that takes a control image beside the latent",
                        .wanted = "one that leaves x_embedder's width alone"});
  if (mode() == Offload::stream) model->stream_blocks(device_);
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
