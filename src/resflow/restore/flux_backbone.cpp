#include "resflow/restore/flux_backbone.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "resflow/autoencoders/file.h"
#include "resflow/core/error.h"
#include "resflow/core/memory_use.h"
#include "resflow/models/tokens.h"
#include "resflow/weights/fingerprint.h"
#include "resflow/weights/load.h"

namespace resflow::restore {
namespace {

constexpr int64_t kPatch = 2;                                  // latent cells along a token's side
constexpr int64_t kFieldChannels = 4;                          // of one noise field
constexpr size_t kTexts = 16;                                  // 4 MB each
constexpr int64_t kStepsWithGuidance = 28, kStepsWithout = 4;  // diffusers' default for dev; schnell's model card

std::filesystem::path without_slash(const std::filesystem::path& path) { return path.has_filename() ? path : path.parent_path(); }

generate::ModelOptions model_of(const ModelOptions& options) {
  generate::ModelOptions out;
  out.model = options.model;
  out.transformer = options.flux.transformer;
  out.t5 = options.flux.t5;
  out.vae = options.flux.vae;
  out.lora = adapter_choice(options.flux);
  out.lora.insert(out.lora.end(), options.flux.lora.begin(), options.flux.lora.end());
  out.device = options.device;
  out.dtype = options.dtype;
  return out;
}

std::string fingerprint_of(const generate::FluxParts& parts, const ConditionFiles& files) {
  std::vector<weights::TensorFile> all = {weights::TensorFile::open(parts.transformer_path()), weights::TensorFile::open(parts.autoencoder_path())};
  for (const auto& choice : parts.loras()) all.push_back(weights::TensorFile::open(choice.lora.path));
  if (files.control) all.push_back(files.control->weights);
  if (files.embedder) all.push_back(*files.embedder);
  return weights::sampled_fingerprint(all);
}

}  // namespace

Tensor latent_noise(const Stream& field, int64_t channels, const Cells& window) {
  std::vector<Tensor> parts;
  for (int64_t c = 0; c < channels; c += kFieldChannels)
    parts.push_back(noise_window(field.child("latent", static_cast<uint64_t>(c / kFieldChannels)), std::min(kFieldChannels, channels - c), window.y,
                                 window.x, window.height, window.width));
  return at::cat(parts, 1);
}

FluxBackbone::~FluxBackbone() = default;

FluxBackbone::FluxBackbone(const ModelOptions& options)
    : options_(options.flux),
      parts_(model_of(options), options.flux.memory),
      files_(open_condition(options.flux, parts_.loras())),
      fingerprint_(fingerprint_of(parts_, files_)) {
  if (parts_.files().beside != generate::Beside::nothing)
    throw_user_error({.where = options.model,
                      .problem = "a model that is shown a picture beside the latent",
                      .wanted = "a plain FLUX.1 transformer (dev, schnell), and no adapter that widens x_embedder",
                      .got = parts_.files().beside == generate::Beside::fill ? "a Fill model" : "a Control model, or its adapter",
                      .hint = "`resflow generate` runs it"});
}

Defaults FluxBackbone::defaults() const {
  const int64_t steps = parts_.config().guidance_embeds ? kStepsWithGuidance : kStepsWithout;
  return {.steps = steps, .search_steps = steps, .sigma_s = 0, .search_sigma_s = 0, .tile = 1024};
}

void FluxBackbone::check(const RestoreOptions& options) const {
  if (options.sigma_s != 0)
    throw_user_error({.where = "sigma_s",
                      .problem = "an option of the compact model",
                      .got = "FLUX",
                      .hint = "Leave it out; --strength and --guidance do as much"});
  if (!files_.control && options.control_scale != RestoreOptions{}.control_scale)
    throw_user_error(
        {.where = "control_scale", .problem = "there is no ControlNet", .hint = "An adapter's strength is said with it: --adapter FILE:SCALE"});
  if (shown(options) == "both" && files_.fusion.fusion != "sequence")
    throw_user_error({.where = "condition",
                      .problem = "this fusion has room for one picture",
                      .wanted = "lq or reference, or a sequence",
                      .got = "both, and " + files_.fusion.fusion});
}

std::string FluxBackbone::shown(const RestoreOptions& options) const {
  return options.condition == "auto" ? files_.fusion.condition : options.condition;
}

Json FluxBackbone::told() const {
  Json out = {{"pipeline", parts_.folder().pipeline}, {"fusion", files_.fusion.fusion}};
  if (!parts_.folder().commit.empty()) out["commit"] = parts_.folder().commit;
  Json adapters = weights::loras_json(parts_.loras());
  if (!options_.adapter.empty()) {
    out["adapter"] = adapters.front();
    adapters.erase(adapters.begin());
  }
  if (!adapters.empty()) out["lora"] = adapters;
  if (files_.fusion.fusion == "sequence") out["condition_attention"] = files_.fusion.condition_attention;
  if (files_.control) {
    out["control"] = std::filesystem::exists(options_.control) ? without_slash(options_.control).filename().string() : options_.control;
    if (options_.control_mode >= 0) out["control_mode"] = options_.control_mode;
  }
  return out;
}

Cells FluxBackbone::cells_of(const image::Tile& tile) const {
  const int64_t cell = parts_.autoencoder().reduction();
  return {.y = tile.y / cell, .x = tile.x / cell, .height = tile.height / cell, .width = tile.width / cell};
}

std::vector<double> FluxBackbone::sigmas(const PictureSettings& settings, int64_t height, int64_t width) const {
  const int64_t steps = settings.options.steps;
  auto out = parts_.schedule().sigmas(steps, (height / multiple()) * (width / multiple()));
  const auto whole = static_cast<double>(steps);
  const auto left_out = static_cast<int64_t>(std::max(whole - std::min(whole * settings.options.strength, whole), 0.0));
  out.erase(out.begin(), out.begin() + std::min(left_out, steps - 1));
  return out;
}

generate::Work FluxBackbone::work_of(const PictureSettings& settings) const {
  const generate::Size size{.width = settings.width, .height = settings.height};
  const auto& config = parts_.config();
  const int64_t tokens = (size.width / multiple()) * (size.height / multiple()), bytes = static_cast<int64_t>(c10::elementSize(parts_.dtype()));
  generate::Work out{.size = size, .image = true, .max_sequence_length = settings.options.max_sequence_length, .batch = settings.batch};
  const bool sequence = files_.fusion.fusion == "sequence";
  const int64_t pictures = shown(settings.options) == "both" ? 2 : 1;
  if (sequence && files_.fusion.condition_attention == "full") out.reference = {.width = size.width, .height = pictures * size.height};
  if (sequence && files_.fusion.condition_attention == "independent")
    out.beside = 2 * pictures * (config.num_layers + config.num_single_layers) * tokens * config.width() * bytes;
  if (files_.control) {
    const auto& trunk = files_.control->config.trunk;
    for (const auto& name : files_.control->weights.names()) out.beside += bytes * c10::multiply_integers(files_.control->weights.shape(name));
    out.beside += (trunk.num_layers + trunk.num_single_layers) * settings.batch * tokens * config.width() * bytes;
  }
  return out;
}

const generate::TextFeatures& FluxBackbone::text_of(const std::string& caption, int64_t length, const Job& job) {
  const std::string key = fmt::format("{} {}", length, caption);
  const auto found = std::find_if(texts_.begin(), texts_.end(), [&](const auto& entry) { return entry.first == key; });
  if (found != texts_.end()) {
    texts_.splice(texts_.begin(), texts_, found);
  } else {
    job.report({.stage = "text"});
    texts_.emplace_front(key, parts_.read_text(caption, length, job));
    if (texts_.size() > kTexts) texts_.pop_back();
  }
  return texts_.front().second;
}

void FluxBackbone::load() {
  parts_.load_autoencoder();
  if (!options_.preview_vae.empty() && !preview_) {
    preview_ = autoencoders::load_autoencoder(options_.preview_vae, {.dtype = at::kFloat, .device = parts_.device()});
    const auto& own = parts_.autoencoder();
    if (preview_->latent_channels() != own.latent_channels() || preview_->reduction() != own.reduction())
      throw_user_error({.where = "--preview-vae",
                        .problem = "this autoencoder is for other latents",
                        .wanted = fmt::format("{} channels, {} px a cell", own.latent_channels(), own.reduction()),
                        .got = fmt::format("{} channels, {} px a cell", preview_->latent_channels(), preview_->reduction())});
  }
  if (fusion_) return;
  parts_.load_transformer();
  auto fusion = std::make_unique<models::FluxFusion>(parts_.transformer(), files_.fusion,
                                                     files_.control ? std::optional(files_.control->config) : std::nullopt);
  const weights::Conversion conversion{.dtype = parts_.dtype(), .device = parts_.device()};
  if (files_.control) weights::load_strict(*fusion->own_part(), files_.control->weights, "", conversion);
  if (files_.embedder) weights::load_strict(*fusion->own_part(), *files_.embedder, "", conversion);
  fusion_ = std::move(fusion);
}

std::vector<std::string> FluxBackbone::begin(const PictureSettings& settings, const Job& job) {
  const auto memory = parts_.settle(work_of(settings));
  const auto& text = text_of(settings.options.caption, settings.options.max_sequence_length, job);
  job.throw_if_stopped();
  if (!fusion_) job.report({.stage = "load"});
  load();
  auto notes = text.notes;
  if (memory && !memory->fits())
    notes.push_back(fmt::format("about {} of memory are needed (--offload {}) and {} are free, which may not be enough", bytes_text(memory->needed),
                                generate::offload_name(memory->mode), bytes_text(memory->limit)));
  for (auto& note : weights::lora_notes(parts_.loras())) notes.push_back(std::move(note));
  return notes;
}

models::FluxCondition FluxBackbone::condition_of(const Tensor& picture, const std::vector<Tensor>& latents,
                                                 const generate::TextFeatures& text) const {
  if (fusion_->takes_picture()) return {.tokens = picture * 2 - 1, .ids = {}, .blocks = {}};
  std::vector<Tensor> tokens;
  for (const auto& latent : latents) tokens.push_back(models::patchify(latent, kPatch));
  return fusion_->prepare(at::cat(tokens, 1), latents.front().size(2) / kPatch, latents.front().size(3) / kPatch, text.pooled);
}

flow::VelocityFn FluxBackbone::velocity_of(models::FluxCondition condition, const Cells& cells, const PictureSettings& settings) const {
  const int64_t rows = cells.height / kPatch, columns = cells.width / kPatch;
  const auto& text = texts_.front().second;
  const Tensor ids = models::image_ids(rows, columns).to(parts_.device());
  const Tensor text_ids = at::zeros({text.tokens.size(1), 3}, ids.options());
  const models::ControlUse use{.scale = settings.options.control_scale, .mode = options_.control_mode};
  return [this, condition = std::move(condition), rows, columns, ids, text_ids, use, tokens = text.tokens, pooled = text.pooled,
          guidance = settings.options.guidance](const Tensor& z, double sigma) {
    const int64_t batch = z.size(0);
    const auto number = [&](double value) { return at::full({batch}, value, at::TensorOptions().dtype(at::kFloat).device(z.device())); };
    models::FluxInput input;
    input.hidden_states = models::patchify(z, kPatch);  // [N, L, 4 C]
    input.encoder_hidden_states = tokens.expand({batch, -1, -1});
    input.pooled = pooled.expand({batch, -1});
    input.timestep = number(sigma);
    input.img_ids = ids;
    input.txt_ids = text_ids;
    input.guidance = number(guidance);
    return models::unpatchify(fusion_->forward(input, condition, use).to(at::kFloat), kPatch, rows, columns);  // [N, C, h, w]
  };
}

// One at a time: of a tile of 1 Mpx a decoder holds gigabytes.
Tensor FluxBackbone::each(const autoencoders::Autoencoder& autoencoder, const Tensor& latents) {
  if (latents.size(0) == 1) return autoencoder.decode(latents);
  std::vector<Tensor> out;
  for (int64_t i = 0; i < latents.size(0); ++i) out.push_back(autoencoder.decode(latents.narrow(0, i, 1)));
  return at::cat(out);
}

TileFlow FluxBackbone::tile(const TileInput& input, const PictureSettings& settings) {
  const auto& autoencoder = parts_.autoencoder();
  const Cells cells = cells_of(input.tile);
  const std::string kind = shown(settings.options);
  const Tensor poor = input.enlarged.to(parts_.device()), removed = input.reference.clamp(0, 1);
  std::vector<Tensor> latents;  // C_img, [1, C, h, w] each
  if (kind != "reference") latents.push_back(autoencoder.encode(poor));
  if (kind != "lq") latents.push_back(autoencoder.encode(removed));
  // Full strength starts from noise alone: then the guess is only what a search that ends at once falls back to.
  const Tensor guess = settings.options.strength < 1 && kind == "lq" ? autoencoder.encode(removed) : latents.back();
  const auto& previews = preview_ ? *preview_ : autoencoder;
  return {.sigmas = sigmas(settings, input.tile.height, input.tile.width),
          .velocity = velocity_of(condition_of(kind == "reference" ? removed : poor, latents, texts_.front().second), cells, settings),
          .coordinates = {.center = {}, .sigma_s = 1, .guess = guess},
          .noise = [cells, channels = autoencoder.latent_channels(),
                    device = parts_.device()](const Stream& field) { return latent_noise(field, channels, cells).to(device); },
          .decode = [&autoencoder](const Tensor& x0) { return each(autoencoder, x0); },
          .preview = [&previews](const Tensor& x0) { return each(previews, x0); }};
}

}  // namespace resflow::restore
