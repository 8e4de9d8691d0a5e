#include "resflow/generate/generator.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <chrono>

#include "resflow/core/config_file.h"
#include "resflow/core/device.h"
#include "resflow/core/rng.h"
#include "resflow/flow/denoise.h"
#include "resflow/generate/part_weights.h"
#include "resflow/image/resize.h"
#include "resflow/models/tokens.h"
#include "resflow/weights/autoencoder_names.h"
#include "resflow/weights/flux_names.h"

namespace resflow::generate {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kPatch = 2;  // latent pixels along a token's side

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::filesystem::path config_file(const ModelFolder& model, const char* part) { return model.part(part) / "config.json"; }

Size size_of(const Tensor& image) { return image.defined() ? Size{.width = image.size(2), .height = image.size(1)} : Size{}; }

Json model_json(const ModelFolder& folder, const models::FluxConfig& config) {
  Json out = {{"name", folder.name}, {"pipeline", folder.pipeline}, {"guidance", config.guidance_embeds}};
  if (!folder.commit.empty()) out["commit"] = folder.commit;
  return out;
}

}  // namespace

struct Generator::Run {
  const Request& request;
  GenerateOptions options;  // with what was left open filled in
  Plan plan;
  TextFeatures text;
  Tensor image;      // the source's latent, [1, C, h, w], or undefined
  Tensor reference;  // the reference's tokens, [1, R, 4 C], or undefined
  Tensor ids;        // of the image's tokens, then the reference's, [L + R, 3]
  Tensor text_ids;   // [T, 3], all 0
  std::unique_ptr<flow::Sampler> sampler;
  double text_seconds = 0;
};

Generator::~Generator() = default;

Generator::Generator(const ModelOptions& options, const MemoryOptions& memory)
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
                      .hint = "Models that take a control image or a mask beside the latent (Fill, Control) are not run by `generate`"});
}

ModelFacts Generator::facts() const { return {.multiple = autoencoder_->reduction() * kPatch, .guidance = config_.guidance_embeds}; }

Plan Generator::plan(const Request& request, const GenerateOptions& options) const {
  return make_plan(options, {.image = size_of(request.image), .reference = size_of(request.reference)}, facts(), schedule_);
}

Needs Generator::needs(const Request& request, const GenerateOptions& options) const {
  const Plan planned = plan(request, options);
  return needs_of(
      options_,
      {.size = planned.size, .reference = planned.reference, .image = request.image.defined(), .max_sequence_length = options.max_sequence_length},
      device_);
}

Decision Generator::choose(const Request& request, const GenerateOptions& options) {
  const Decision found = decide(needs(request, options), memory_, free_memory(device_));
  if (!decision_) decision_ = found;
  return *decision_;
}

Offload Generator::mode() const {
  if (decision_) return decision_->mode;
  if (memory_.offload == "auto") return device_.is_cpu() ? Offload::stream : Offload::text;
  return offload_of(memory_.offload);
}

void Generator::load_transformer() {
  if (transformer_) return;
  auto model = std::make_unique<models::FluxTransformer>(config_);
  const auto file =
      weights::TensorFile::open(options_.transformer.empty() ? folder_.part("transformer") : std::filesystem::path(options_.transformer));
  weights::load_strict(*model, weights::flux_as_diffusers(file), "", transformer_conversion(file, device_, dtype_, mode()));
  for (const auto& choice : loras_)
    if (weights::attach(*model, choice.lora, choice.use).widened.linear != nullptr)
      throw_user_error({.where = choice.lora.path.string(),
                        .problem = "an adapter that takes a control image beside the latent",
                        .wanted = "one that leaves x_embedder's width alone"});
  if (mode() == Offload::stream) model->stream_blocks(device_);
  transformer_ = std::move(model);
}

void Generator::load_autoencoder() {
  if (autoencoder_loaded_) return;
  const auto file = weights::TensorFile::open(options_.vae.empty() ? folder_.part("vae") : std::filesystem::path(options_.vae));
  const auto dtype = device_.is_cuda() && dtype_ == at::kBFloat16 ? at::kBFloat16 : at::kFloat;
  weights::load_strict(*autoencoder_, weights::has_autoencoder(file) ? weights::autoencoder_as_diffusers(file) : file, "",
                       {.dtype = dtype, .device = device_});
  autoencoder_loaded_ = true;
}

Tensor Generator::latent_of(const Tensor& image, Size size) const {
  check_shape(image, "3 H W", "image");
  const Tensor fitting = image.size(1) == size.height && image.size(2) == size.width
                             ? image
                             : image::resize(image, size.height, size.width, image::Kernel::lanczos).clamp(0, 1);
  return autoencoder_->encode(fitting.unsqueeze(0).to(device_));
}

void Generator::generate(const Request& request, const GenerateOptions& options, const Job& job,
                         const std::function<void(int64_t index, Generated)>& on_picture, const DrawNoise& draw) {
  Run run{.request = request, .options = options, .plan = plan(request, options)};
  run.options.width = run.plan.size.width;
  run.options.height = run.plan.size.height;
  run.options.steps = run.plan.steps;
  run.sampler = flow::samplers().make(options.sampler);
  if (!decision_ && (!memory_.max_vram.empty() || (memory_.offload == "auto" && !device_.is_cpu()))) choose(request, options);

  c10::InferenceMode inference;
  const auto begin = Clock::now();
  run.text = encode_text(folder_, request.prompt, options.max_sequence_length,
                         {.device = device_, .dtype = dtype_, .t5 = options_.t5, .offload = mode()}, job, &encoders_);
  const int64_t width = run.text.tokens.size(2), pooled = run.text.pooled.size(1);
  if (width != config_.joint_attention_dim || pooled != config_.pooled_projection_dim)
    throw_user_error({.where = folder_.root.string(),
                      .problem = "the text encoders are not this transformer's",
                      .wanted = fmt::format("T5 of {}, CLIP of {}", config_.joint_attention_dim, config_.pooled_projection_dim),
                      .got = fmt::format("{} and {}", width, pooled)});
  run.text_seconds = seconds_since(begin);

  load_autoencoder();
  const int64_t multiple = facts().multiple;
  run.ids = models::image_ids(run.plan.size.height / multiple, run.plan.size.width / multiple);
  if (request.image.defined()) run.image = latent_of(request.image, run.plan.size);
  if (request.reference.defined()) {
    const Size size = run.plan.reference;
    run.reference = models::patchify(latent_of(request.reference, size), kPatch);
    run.ids = at::cat({run.ids, models::image_ids(size.height / multiple, size.width / multiple, 1)});
  }
  run.ids = run.ids.to(device_);
  run.text_ids = at::zeros({run.text.tokens.size(1), 3}, run.ids.options());
  job.throw_if_stopped();
  load_transformer();
  for (int64_t i = 0; i < options.n; ++i) {
    const Job part{.on_progress =
                       [&](Progress progress) {
                         progress.item = i;
                         progress.of_items = options.n;
                         job.report(progress);
                       },
                   .stop = job.stop};
    on_picture(i, make(run, i, part, draw));
  }
}

Generated Generator::make(const Run& run, int64_t index, const Job& job, const DrawNoise& draw) const {
  const auto begin = Clock::now();
  const int64_t seed = run.options.seed + index, reduction = autoencoder_->reduction();
  const std::vector<int64_t> shape = {1, autoencoder_->latent_channels(), run.plan.size.height / reduction, run.plan.size.width / reduction};
  Tensor z =
      (draw ? draw(index, shape) : normal_like_shape(Stream(static_cast<uint64_t>(seed), "generate.noise"), shape)).to(device_);  // [1, C, h, w]
  if (run.image.defined()) z = run.plan.sigmas.front() * z + (1 - run.plan.sigmas.front()) * run.image;

  int64_t evaluations = 0;
  const auto number = [&](double value) { return at::full({1}, value, at::TensorOptions().dtype(at::kFloat).device(device_)); };
  const flow::VelocityFn velocity = [&](const Tensor& tokens, double sigma) {
    ++evaluations;
    models::FluxInput input;
    input.hidden_states = run.reference.defined() ? at::cat({tokens, run.reference}, 1) : tokens;  // [1, L + R, 4 C]
    input.encoder_hidden_states = run.text.tokens;
    input.pooled = run.text.pooled;
    input.timestep = number(sigma);
    input.img_ids = run.ids;
    input.txt_ids = run.text_ids;
    if (config_.guidance_embeds) input.guidance = number(run.options.guidance);
    return transformer_->forward(input).narrow(1, 0, tokens.size(1)).to(at::kFloat);  // [1, L, 4 C]
  };
  z = flow::denoise(velocity, models::patchify(z, kPatch), run.plan.sigmas, *run.sampler, job);
  const Tensor latent = models::unpatchify(z, kPatch, shape[2] / kPatch, shape[3] / kPatch);  // [1, C, h, w]
  const double denoised = seconds_since(begin);

  Generated out;
  out.picture.pixels = autoencoder_->decode(latent).clamp(0, 1).squeeze(0).to(at::kCPU).contiguous();  // [3, H, W]
  out.notes = run.text.notes;
  const bool kontext = folder_.pipeline == "FluxKontextPipeline";
  if (run.reference.defined() && !kontext) out.notes.emplace_back("the model was not trained with a reference: its folder says " + folder_.pipeline);
  for (auto& note : weights::lora_notes(loras_)) out.notes.push_back(std::move(note));
  for (const auto& choice : loras_)
    if (choice.use.tokens.value_or(choice.lora.tokens) == nn::LoraTokens::condition)
      out.notes.push_back(choice.lora.path.string() + ": acts on the tokens of a condition alone, which there is none of here");
  Json options = fields_to_json(run.options);
  options["seed"] = seed;
  options.erase("n");
  if (!run.image.defined()) options.erase("strength");
  if (!run.reference.defined()) options.erase("reference_resize");
  if (!config_.guidance_embeds) options.erase("guidance");
  out.manifest = {{"program", "resflow " RESFLOW_VERSION},
                  {"model", model_json(folder_, config_)},
                  {"prompt", run.request.prompt},
                  {"options", options},
                  {"computed", {{"device", device_.str()}, {"dtype", dtype_name(dtype_)}}},
                  {"result", {{"width", run.plan.size.width}, {"height", run.plan.size.height}}},
                  {"evaluations", evaluations},
                  {"seconds", {{"text", run.text_seconds}, {"denoise", denoised}, {"decode", seconds_since(begin) - denoised}}}};
  if (!loras_.empty()) out.manifest["model"]["lora"] = weights::loras_json(loras_);
  return out;
}

}  // namespace resflow::generate
