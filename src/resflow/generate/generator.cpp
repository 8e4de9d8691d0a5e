#include "resflow/generate/generator.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <chrono>

#include "resflow/core/device.h"
#include "resflow/core/rng.h"
#include "resflow/flow/denoise.h"
#include "resflow/generate/conditions.h"
#include "resflow/models/tokens.h"

namespace resflow::generate {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

Size size_of(const Tensor& image) { return image.defined() ? Size{.width = image.size(2), .height = image.size(1)} : Size{}; }

Work work_of(const Request& request, const GenerateOptions& options, const Plan& plan) {
  return {.size = plan.size, .reference = plan.reference, .image = request.image.defined(), .max_sequence_length = options.max_sequence_length};
}

// A folder's or file's name, without where it lies.
std::string short_name(const std::string& path) {
  if (!std::filesystem::exists(path)) return path;  // a name in the cache
  const auto full = std::filesystem::absolute(path).lexically_normal();
  return (full.has_filename() ? full : full.parent_path()).filename().string();
}

Json model_json(const ModelFolder& folder, const DenoiserFiles& files) {
  Json out = {{"name", folder.name}, {"pipeline", folder.pipeline}, {"guidance", files.config.guidance_embeds}};
  if (!folder.commit.empty()) out["commit"] = folder.commit;
  if (!files.loras.empty()) out["lora"] = weights::loras_json(files.loras);
  if (files.control) out["control"] = short_name(files.control_name);
  return out;
}

// As used: without those that meant nothing here.
Json options_json(const GenerateOptions& options, int64_t seed, const Request& request, const DenoiserFiles& files) {
  Json out = fields_to_json(options);
  out["seed"] = seed;
  out.erase("n");
  if (!request.image.defined()) out.erase("strength");
  if (!request.reference.defined()) out.erase("reference_resize");
  if (!request.control.defined()) out.erase("control_enlarge");
  if (!files.control)
    for (const char* name : {"control_scale", "control_start", "control_end"}) out.erase(name);
  if (options.control_mode < 0) out.erase("control_mode");
  if (!files.config.guidance_embeds && !(files.control && files.control->config.trunk.guidance_embeds)) out.erase("guidance");
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
  Tensor beside;     // what the tokens hold beside the latent's channels, [1, L, any], or undefined
  Tensor control;    // what the ControlNet is shown, tokens [1, L, 4 C] or a picture [1, 3, H, W], or undefined
  Tensor mode;       // which kind of control, [1], or undefined
  Tensor ids;        // of the image's tokens, then the reference's, [L + R, 3]
  Tensor text_ids;   // [T, 3], all 0
  std::unique_ptr<flow::Sampler> sampler;
  double text_seconds = 0;
};

Generator::Generator(const ModelOptions& options, const MemoryOptions& memory) : parts_(options, memory) {}

Plan Generator::plan(const Request& request, const GenerateOptions& options) const {
  const Sources sources{
      .image = size_of(request.image), .reference = size_of(request.reference), .control = size_of(request.control), .mask = size_of(request.mask)};
  return make_plan(options, sources, parts_.facts(), parts_.schedule());
}

Needs Generator::needs(const Request& request, const GenerateOptions& options) const {
  return parts_.needs(work_of(request, options, plan(request, options)));
}

Decision Generator::choose(const Request& request, const GenerateOptions& options) {
  return parts_.choose(work_of(request, options, plan(request, options)));
}

Tensor Generator::latent_of(const Tensor& image, Size size) const {
  return parts_.autoencoder().encode(fitted(image, size).unsqueeze(0).to(parts_.device()));
}

// Pictures become what the networks are shown of them.
void Generator::show_pictures(Run& run) const {
  const Request& request = run.request;
  const Plan& plan = run.plan;
  const auto& files = parts_.files();
  const auto tokens = [&](const Tensor& image, Size size) { return models::patchify(latent_of(image, size), kPatch); };
  if (request.image.defined() && plan.sigmas.front() < 1) run.image = latent_of(request.image, plan.size);
  if (request.reference.defined()) run.reference = tokens(request.reference, plan.reference);
  if (files.beside == Beside::control) run.beside = tokens(request.control, plan.size);
  if (files.beside == Beside::fill) {
    const Tensor mask = binary_mask(request.mask, plan.size), kept = masked(fitted(request.image, plan.size), mask);
    run.beside = at::cat({tokens(kept.squeeze(0), plan.size), mask_tokens(mask, parts_.autoencoder().reduction()).to(parts_.device())}, 2);
  }
  if (!files.control) return;
  const bool picture = files.control->config.conditioning_embedding_channels > 0;
  run.control = picture ? (fitted(request.control, plan.size) * 2 - 1).unsqueeze(0).to(parts_.device()) : tokens(request.control, plan.size);
  if (run.options.control_mode >= 0) run.mode = at::full({1}, run.options.control_mode, at::TensorOptions().dtype(at::kLong).device(parts_.device()));
}

void Generator::generate(const Request& request, const GenerateOptions& options, const Job& job,
                         const std::function<void(int64_t index, Generated)>& on_picture, const DrawNoise& draw) {
  Run run{.request = request, .options = options, .plan = plan(request, options)};
  run.options.width = run.plan.size.width;
  run.options.height = run.plan.size.height;
  run.options.steps = run.plan.steps;
  run.options.strength = run.plan.strength;
  run.sampler = flow::samplers().make(options.sampler);
  parts_.settle(work_of(request, options, run.plan));

  c10::InferenceMode inference;
  const auto begin = Clock::now();
  run.text = parts_.read_text(request.prompt, options.max_sequence_length, job);
  run.text_seconds = seconds_since(begin);

  load_autoencoder();
  const int64_t multiple = parts_.facts().multiple;
  run.ids = models::image_ids(run.plan.size.height / multiple, run.plan.size.width / multiple);
  show_pictures(run);
  if (const Size size = run.plan.reference; run.reference.defined())
    run.ids = at::cat({run.ids, models::image_ids(size.height / multiple, size.width / multiple, 1)});
  run.ids = run.ids.to(parts_.device());
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

// Of these latent tokens, [1, L, 4 C], with what the ControlNet says of them.
models::FluxInput Generator::input_of(const Run& run, const Tensor& tokens, double sigma) const {
  const auto number = [&](double value) { return at::full({1}, value, at::TensorOptions().dtype(at::kFloat).device(parts_.device())); };
  const auto guidance = [&](const models::FluxConfig& config) { return config.guidance_embeds ? number(run.options.guidance) : Tensor(); };
  models::FluxInput input;
  input.hidden_states = tokens;
  input.encoder_hidden_states = run.text.tokens;
  input.pooled = run.text.pooled;
  input.timestep = number(sigma);
  input.img_ids = run.ids;
  input.txt_ids = run.text_ids;
  const auto* control = parts_.control();
  if (control != nullptr && control_acts(run.plan.sigmas, sigma, run.options.control_start, run.options.control_end)) {
    input.guidance = guidance(control->config().trunk);
    input.residuals = control->forward(input, run.control, run.options.control_scale, run.mode);
  }
  input.guidance = guidance(parts_.config());
  if (run.reference.defined()) input.hidden_states = at::cat({tokens, run.reference}, 1);  // [1, L + R, 4 C]
  if (run.beside.defined()) input.hidden_states = at::cat({tokens, run.beside}, 2);        // [1, L, 4 C + any]
  return input;
}

Generated Generator::make(const Run& run, int64_t index, const Job& job, const DrawNoise& draw) const {
  const auto& autoencoder = parts_.autoencoder();
  const auto& files = parts_.files();
  const auto begin = Clock::now();
  const int64_t seed = run.options.seed + index, reduction = autoencoder.reduction();
  const std::vector<int64_t> shape = {1, autoencoder.latent_channels(), run.plan.size.height / reduction, run.plan.size.width / reduction};
  Tensor z = (draw ? draw(index, shape) : normal_like_shape(Stream(static_cast<uint64_t>(seed), "generate.noise"), shape))
                 .to(parts_.device());  // [1, C, h, w]
  if (run.image.defined()) z = run.plan.sigmas.front() * z + (1 - run.plan.sigmas.front()) * run.image;

  int64_t evaluations = 0;
  const flow::VelocityFn velocity = [&](const Tensor& tokens, double sigma) {
    ++evaluations;
    return parts_.transformer().forward(input_of(run, tokens, sigma)).narrow(1, 0, tokens.size(1)).to(at::kFloat);  // [1, L, 4 C]
  };
  z = flow::denoise(velocity, models::patchify(z, kPatch), run.plan.sigmas, *run.sampler, job);
  const Tensor latent = models::unpatchify(z, kPatch, shape[2] / kPatch, shape[3] / kPatch);  // [1, C, h, w]
  const double denoised = seconds_since(begin);

  Generated out;
  out.picture.pixels = autoencoder.decode(latent).clamp(0, 1).squeeze(0).to(at::kCPU).contiguous();  // [3, H, W]
  out.notes = run.text.notes;
  const bool kontext = parts_.folder().pipeline == "FluxKontextPipeline";
  if (run.reference.defined() && !kontext)
    out.notes.emplace_back("the model was not trained with a reference: its folder says " + parts_.folder().pipeline);
  for (auto& note : weights::lora_notes(files.loras)) out.notes.push_back(std::move(note));
  for (const auto& choice : files.loras)
    if (choice.use.tokens.value_or(choice.lora.tokens) == nn::LoraTokens::condition)
      out.notes.push_back(choice.lora.path.string() + ": acts on the tokens of a condition alone, which there is none of here");
  out.manifest = {{"program", "resflow " RESFLOW_VERSION},
                  {"model", model_json(parts_.folder(), files)},
                  {"prompt", run.request.prompt},
                  {"options", options_json(run.options, seed, run.request, files)},
                  {"computed", {{"device", parts_.device().str()}, {"dtype", dtype_name(parts_.dtype())}}},
                  {"result", {{"width", run.plan.size.width}, {"height", run.plan.size.height}}},
                  {"evaluations", evaluations},
                  {"seconds", {{"text", run.text_seconds}, {"denoise", denoised}, {"decode", seconds_since(begin) - denoised}}}};
  return out;
}

}  // namespace resflow::generate
