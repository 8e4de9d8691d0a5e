#include "resflow/generate/generator.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <chrono>

#include "resflow/core/device.h"
#include "resflow/core/rng.h"
#include "resflow/flow/denoise.h"
#include "resflow/image/resize.h"
#include "resflow/models/tokens.h"

namespace resflow::generate {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kPatch = 2;  // latent pixels along a token's side

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

Size size_of(const Tensor& image) { return image.defined() ? Size{.width = image.size(2), .height = image.size(1)} : Size{}; }

Work work_of(const Request& request, const GenerateOptions& options, const Plan& plan) {
  return {.size = plan.size, .reference = plan.reference, .image = request.image.defined(), .max_sequence_length = options.max_sequence_length};
}

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

Generator::Generator(const ModelOptions& options, const MemoryOptions& memory) : parts_(options, memory) {}

Plan Generator::plan(const Request& request, const GenerateOptions& options) const {
  return make_plan(options, {.image = size_of(request.image), .reference = size_of(request.reference)}, parts_.facts(), parts_.schedule());
}

Needs Generator::needs(const Request& request, const GenerateOptions& options) const {
  return parts_.needs(work_of(request, options, plan(request, options)));
}

Decision Generator::choose(const Request& request, const GenerateOptions& options) {
  return parts_.choose(work_of(request, options, plan(request, options)));
}

Tensor Generator::latent_of(const Tensor& image, Size size) const {
  check_shape(image, "3 H W", "image");
  const Tensor fitting = image.size(1) == size.height && image.size(2) == size.width
                             ? image
                             : image::resize(image, size.height, size.width, image::Kernel::lanczos).clamp(0, 1);
  return parts_.autoencoder().encode(fitting.unsqueeze(0).to(parts_.device()));
}

void Generator::generate(const Request& request, const GenerateOptions& options, const Job& job,
                         const std::function<void(int64_t index, Generated)>& on_picture, const DrawNoise& draw) {
  Run run{.request = request, .options = options, .plan = plan(request, options)};
  run.options.width = run.plan.size.width;
  run.options.height = run.plan.size.height;
  run.options.steps = run.plan.steps;
  run.sampler = flow::samplers().make(options.sampler);
  parts_.settle(work_of(request, options, run.plan));

  c10::InferenceMode inference;
  const auto begin = Clock::now();
  run.text = parts_.read_text(request.prompt, options.max_sequence_length, job);
  run.text_seconds = seconds_since(begin);

  load_autoencoder();
  const int64_t multiple = parts_.facts().multiple;
  run.ids = models::image_ids(run.plan.size.height / multiple, run.plan.size.width / multiple);
  if (request.image.defined()) run.image = latent_of(request.image, run.plan.size);
  if (request.reference.defined()) {
    const Size size = run.plan.reference;
    run.reference = models::patchify(latent_of(request.reference, size), kPatch);
    run.ids = at::cat({run.ids, models::image_ids(size.height / multiple, size.width / multiple, 1)});
  }
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

Generated Generator::make(const Run& run, int64_t index, const Job& job, const DrawNoise& draw) const {
  const auto& autoencoder = parts_.autoencoder();
  const auto& config = parts_.config();
  const auto& loras = parts_.loras();
  const c10::Device device = parts_.device();
  const auto begin = Clock::now();
  const int64_t seed = run.options.seed + index, reduction = autoencoder.reduction();
  const std::vector<int64_t> shape = {1, autoencoder.latent_channels(), run.plan.size.height / reduction, run.plan.size.width / reduction};
  Tensor z =
      (draw ? draw(index, shape) : normal_like_shape(Stream(static_cast<uint64_t>(seed), "generate.noise"), shape)).to(device);  // [1, C, h, w]
  if (run.image.defined()) z = run.plan.sigmas.front() * z + (1 - run.plan.sigmas.front()) * run.image;

  int64_t evaluations = 0;
  const auto number = [&](double value) { return at::full({1}, value, at::TensorOptions().dtype(at::kFloat).device(device)); };
  const flow::VelocityFn velocity = [&](const Tensor& tokens, double sigma) {
    ++evaluations;
    models::FluxInput input;
    input.hidden_states = run.reference.defined() ? at::cat({tokens, run.reference}, 1) : tokens;  // [1, L + R, 4 C]
    input.encoder_hidden_states = run.text.tokens;
    input.pooled = run.text.pooled;
    input.timestep = number(sigma);
    input.img_ids = run.ids;
    input.txt_ids = run.text_ids;
    if (config.guidance_embeds) input.guidance = number(run.options.guidance);
    return parts_.transformer().forward(input).narrow(1, 0, tokens.size(1)).to(at::kFloat);  // [1, L, 4 C]
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
  for (auto& note : weights::lora_notes(loras)) out.notes.push_back(std::move(note));
  for (const auto& choice : loras)
    if (choice.use.tokens.value_or(choice.lora.tokens) == nn::LoraTokens::condition)
      out.notes.push_back(choice.lora.path.string() + ": acts on the tokens of a condition alone, which there is none of here");
  Json options = fields_to_json(run.options);
  options["seed"] = seed;
  options.erase("n");
  if (!run.image.defined()) options.erase("strength");
  if (!run.reference.defined()) options.erase("reference_resize");
  if (!config.guidance_embeds) options.erase("guidance");
  out.manifest = {{"program", "resflow " RESFLOW_VERSION},
                  {"model", model_json(parts_.folder(), config)},
                  {"prompt", run.request.prompt},
                  {"options", options},
                  {"computed", {{"device", device.str()}, {"dtype", dtype_name(parts_.dtype())}}},
                  {"result", {{"width", run.plan.size.width}, {"height", run.plan.size.height}}},
                  {"evaluations", evaluations},
                  {"seconds", {{"text", run.text_seconds}, {"denoise", denoised}, {"decode", seconds_since(begin) - denoised}}}};
  if (!loras.empty()) out.manifest["model"]["lora"] = weights::loras_json(loras);
  return out;
}

}  // namespace resflow::generate
