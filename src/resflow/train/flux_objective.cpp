#include "resflow/train/flux_objective.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <filesystem>

#include "resflow/core/device.h"
#include "resflow/flow/schedule.h"
#include "resflow/models/flux/file.h"
#include "resflow/models/tokens.h"
#include "resflow/weights/load.h"

namespace resflow::train {
namespace {

constexpr int64_t kPatch = 2;  // latent cells along a token's side

}  // namespace

models::FluxConfig flux_shape(const TrainOptions& options, bool assume) {
  const std::filesystem::path path = options.flux.model;
  if (!path.empty() && std::filesystem::exists(path)) return models::open_flux(path).config;
  if (!assume)
    throw_user_error({.where = "flux.model",
                      .problem = path.empty() ? "no transformer to train for" : "there is no such file or folder",
                      .wanted = "FLUX's transformer: a folder with config.json, or one file",
                      .got = options.flux.model,
                      .hint = "--dry-run says what a run needs without one"});
  models::FluxConfig dev;
  dev.guidance_embeds = true;
  return dev;
}

FluxObjective::FluxObjective(const TrainOptions& options, c10::Device device) : options_(options), device_(device) {
  flux_shape(options, false);
  const auto file = models::open_flux(options.flux.model);
  transformer_ = std::make_unique<models::FluxTransformer>(file.config);
  weights::load_strict(*transformer_, file.weights, "", {.dtype = parse_dtype(options.dtype, device), .device = device});
  fusion_ = std::make_unique<models::FluxFusion>(*transformer_, options.fusion);
}

void FluxObjective::initialise() {
  fusion_->initialise(Stream(static_cast<uint64_t>(options_.seed), "train.init"));
  fusion_->copy_transformer();
  fusion_->to(device_, at::kFloat);
}

FluxBatch FluxObjective::batch(const LatentShards& shards, int64_t index, int64_t from, int64_t to) const {
  const Stream stream(static_cast<uint64_t>(options_.seed), "train.flux", static_cast<uint64_t>(index));
  // A shard with a probability proportional to its samples, then rows of it.
  Stream choice = stream.child("rows");
  int64_t place = choice.integer(0, shards.samples() - 1);
  size_t shard = 0;
  while (place >= shards.size(shard)) place -= shards.size(shard++);
  std::vector<int64_t> rows = {place};
  while (static_cast<int64_t>(rows.size()) < to) rows.push_back(choice.integer(0, shards.size(shard) - 1));
  rows.erase(rows.begin(), rows.begin() + from);

  FluxBatch out;
  out.latents = shards.rows(shard, rows);
  const Latents empty = shards.empty(shard);
  const double mu = flow::resolution_mu(static_cast<double>(out.latents.clean.size(2) * out.latents.clean.size(3)) / (kPatch * kPatch));
  std::vector<Tensor> noise;
  std::vector<double> times;
  for (int64_t i = 0; i < to - from; ++i) {
    const Stream sample = stream.child("sample", static_cast<uint64_t>(from + i));
    Stream draws = sample.child("draws");
    const double logit = options_.flux.time_mean + options_.flux.time_deviation * draws.normal();
    times.push_back(1 / (1 + std::exp(-logit)));
    if (draws.chance(options_.flux.drop_text)) {
      out.latents.text[i].copy_(empty.text[0]);
      out.latents.pooled[i].copy_(empty.pooled[0]);
    }
    if (draws.chance(options_.flux.drop_image)) out.latents.condition[i].copy_(empty.condition[0]);
    noise.push_back(normal_like_shape(sample.child("noise"), out.latents.clean[i].sizes()));
  }
  if (options_.flux.time_shift) times = flow::shift_sigmas(times, mu);
  out.t = at::tensor(times, at::kDouble).to(at::kFloat);
  out.noise = at::stack(noise);
  const Tensor t = out.t.view({-1, 1, 1, 1});
  out.z = (1 - t) * out.latents.clean + t * out.noise;
  out.target = out.noise - out.latents.clean;
  return out;
}

Tensor FluxObjective::velocity(const Latents& latents, const Tensor& z, const Tensor& t) const {
  const auto tokens = [&](const Tensor& map) { return models::patchify(map, kPatch).to(device_); };  // [B, L, 64]
  const auto grid = [](const Tensor& map) { return std::pair{map.size(2) / kPatch, map.size(3) / kPatch}; };
  const auto [rows, columns] = grid(z);
  const auto [condition_rows, condition_columns] = grid(latents.condition.select(1, 0));
  const Tensor shown = tokens(latents.condition.flatten(0, 1)).reshape({z.size(0), -1, transformer_->config().in_channels});  // [B, pictures L, 64]

  models::FluxInput input;
  input.hidden_states = tokens(z);
  input.encoder_hidden_states = latents.text.to(device_);
  input.pooled = latents.pooled.to(device_);
  input.timestep = t.to(device_);
  input.img_ids = models::image_ids(rows, columns).to(device_);
  input.txt_ids = at::zeros({input.encoder_hidden_states.size(1), 3}, input.img_ids.options());
  if (transformer_->config().guidance_embeds) input.guidance = at::full_like(input.timestep, options_.flux.guidance);
  input.checkpoint = options_.flux.checkpoint;
  const auto condition = fusion_->condition(shown, condition_rows, condition_columns);
  return models::unpatchify(fusion_->forward(input, condition).to(at::kFloat), kPatch, rows, columns);  // [B, 16, h, w]
}

Tensor FluxObjective::loss(const FluxBatch& batch) const { return at::mse_loss(velocity(batch.latents, batch.z, batch.t), batch.target.to(device_)); }

}  // namespace resflow::train
