#include "resflow/train/flux_trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <optional>
#include <variant>

#include "resflow/core/device.h"
#include "resflow/core/files.h"
#include "resflow/core/log.h"
#include "resflow/models/fusion/export.h"
#include "resflow/train/events.h"
#include "resflow/train/flux_validation.h"
#include "resflow/train/gradient_buckets.h"
#include "resflow/train/optimizer.h"
#include "resflow/train/prodigy.h"
#include "resflow/train/run_folder.h"

namespace resflow::train {
namespace {

using Optimizer = std::variant<AdamW, Prodigy>;

Optimizer optimizer_of(const TrainOptions& o, nn::Module& module) {
  if (o.flux.optimizer == "prodigy") return Prodigy(module, {.beta2 = o.beta2, .weight_decay = o.weight_decay, .ema = o.ema});
  return AdamW(module, {.beta2 = o.beta2, .weight_decay = o.weight_decay, .ema = o.ema});
}

// One rank's part of a step: whole batches, where each rank gets as many; else a part of each.
struct Part {
  Ranks::Share batches, samples;
};

Part part_of(const TrainOptions& o, const Ranks& ranks) {
  if (o.flux.accumulate % ranks.count() == 0) return {ranks.share("flux.accumulate", o.flux.accumulate), {0, o.batch}};
  return {{0, o.flux.accumulate}, ranks.share("batch", o.batch)};
}

class FluxRun {
 public:
  FluxRun(const TrainOptions& options, Ranks& ranks)
      : options_(options),
        ranks_(ranks),
        part_(part_of(options, ranks)),
        device_(ranks.device()),
        shards_(options.data, options.fusion.condition),
        objective_(options, device_),
        folder_(options.output, ranks.first()) {
    if (device_.is_cpu()) at::set_num_threads(static_cast<int>(options_.workers));
    objective_.initialise();
    optimizer_.emplace(optimizer_of(options_, objective_.module()));
    std::vector<Tensor> all;
    for (const auto& [name, tensor] : state()) all.push_back(tensor);
    step_ = ranks_.start_alike(all, ranks_.first() ? folder_.resume(state()) : 0);
    objective_.module().requires_grad(true);
    objective_.module().attach();
  }
  TrainResult train(const Job& job);

 private:
  NamedTensors state() const {
    return std::visit([](const auto& optimizer) { return optimizer.state(); }, *optimizer_);
  }
  double gradients(const std::vector<Tensor>& parameters, std::vector<Tensor>& sum, GradientBuckets& buckets) const;
  void save() const;
  void log_step(double loss, double norm, double per_step, EventFile& events);
  void validate(const FluxValidation& validation, EventFile& events, TrainResult& result);

  TrainOptions options_;
  Ranks& ranks_;
  Part part_;
  c10::Device device_;
  LatentShards shards_;
  FluxObjective objective_;
  RunFolder folder_;
  std::optional<Optimizer> optimizer_;
  int64_t step_ = 0;
};

// Of the step's batches, of all ranks, averaged. -> their mean loss
double FluxRun::gradients(const std::vector<Tensor>& parameters, std::vector<Tensor>& sum, GradientBuckets& buckets) const {
  at::AutoGradMode with_gradients(true);
  const auto [batches, samples] = part_;
  const double share = 1 / static_cast<double>(batches.size());
  std::vector<double> loss = {0};
  for (int64_t i = batches.from; i < batches.to; ++i) {
    const Tensor part = objective_.loss(objective_.batch(shards_, step_ * options_.flux.accumulate + i, samples.from, samples.to));
    loss[0] += share * part.item<double>();
    GradientSink sink;  // the last batch completes the sum
    if (const auto put = buckets.sink(); put && i + 1 == batches.to)
      sink = [&, put, first = i == batches.from](size_t p, const Tensor& found) { put(p, first ? found * share : sum[p].add(found, share)); };
    const auto found = differentiate(part, parameters, sink);
    for (size_t p = 0; p < parameters.size(); ++p) {
      if (i == batches.from) {
        sum.push_back(found[p] * share);
      } else {
        sum[p].add_(found[p], share);
      }
    }
  }
  buckets.finish(sum);
  ranks_.average(loss);
  return loss[0];
}

void FluxRun::save() const {
  folder_.save(state(), step_, fields_to_json(options_));
  std::vector<std::pair<std::string, Tensor>> average;
  for (const auto& [name, tensor] : state())
    if (name.starts_with("ema.")) average.emplace_back(name.substr(4), tensor.to(at::kCPU));
  models::export_fusion(folder_.path(), objective_.module(), average);
}

// Of the moving average, which is what is saved.
void FluxRun::validate(const FluxValidation& validation, EventFile& events, TrainResult& result) {
  const auto swap = [&] { std::visit([](auto& optimizer) { optimizer.swap_average(); }, *optimizer_); };
  swap();
  const auto measured = validation.run(objective_);
  swap();
  if (!measured.loss) return;
  result.validation = {{"loss", *measured.loss}};
  folder_.log({{"step", step_}, {"validation", result.validation}});
  events.scalar(step_, "validation/loss", *measured.loss);
  log_info(fmt::format("  validation loss {:.4f}", *measured.loss));
  if (!measured.grid.defined()) return;
  const std::string png = png_bytes(measured.grid);
  create_folder(folder_.path() / "samples");
  write_text_atomically(folder_.path() / "samples" / fmt::format("{:07}.png", step_), png);
  events.image(step_, "validation/samples", measured.grid.size(1), measured.grid.size(2), png);
}

void FluxRun::log_step(double loss, double norm, double per_step, EventFile& events) {
  events.scalar(step_, "train/loss", loss);
  events.scalar(step_, "train/gradient_norm", norm);
  Json entry = {
      {"step", step_}, {"loss", loss}, {"gradient_norm", norm}, {"learning_rate", learning_rate_at(options_, step_)}, {"seconds_per_step", per_step}};
  if (const auto* prodigy = std::get_if<Prodigy>(&*optimizer_)) {
    entry["prodigy_d"] = prodigy->scale();
    events.scalar(step_, "train/prodigy_d", prodigy->scale());
  }
  folder_.log(entry);
}

TrainResult FluxRun::train(const Job& job) {
  std::optional<FluxValidation> validation;  // these two: the first rank's
  std::optional<EventFile> events;
  if (ranks_.first()) {
    validation.emplace(options_, device_);
    folder_.open_log(step_);
    events.emplace(folder_.path());
    log_info(fmt::format("training a fusion for FLUX ({}: {} of {} parameters) on {} samples, {}, {}{}{}", options_.fusion.fusion,
                         objective_.module().parameter_count(), objective_.transformer().parameter_count(), shards_.samples(), device_.str(),
                         dtype_name(parse_dtype(options_.dtype, device_)), ranks_.described(),
                         step_ > 0 ? fmt::format(", resuming at step {}", step_) : ""));
  }
  const auto parameters = std::visit([](const auto& optimizer) { return optimizer.parameters(); }, *optimizer_);
  GradientBuckets buckets(ranks_, parameters, options_.ranks.bucket);
  TrainResult result{.step = step_};
  auto mark = std::chrono::steady_clock::now();
  int64_t mark_step = step_;
  while (step_ < options_.steps) {
    std::vector<Tensor> sum;
    const double loss = gradients(parameters, sum, buckets), norm = clip_gradients(sum, options_.clip_norm);
    if (!std::isfinite(loss) || !std::isfinite(norm))
      throw_user_error({.where = "train",
                        .problem = fmt::format("the loss is not finite at step {}", step_ + 1),
                        .hint = "Lower learning_rate or clip_norm; the last checkpoint is good"});
    ++step_;
    std::visit([&](auto& optimizer) { optimizer.step(step_, learning_rate_at(options_, step_), sum); }, *optimizer_);
    result.step = step_;
    result.loss = loss;
    const bool last = step_ == options_.steps, stop = ranks_.any(job.stop.stop_requested());
    if (!ranks_.first()) {
      if (stop && !last) throw Cancelled();
      continue;
    }
    if (step_ % options_.log_every == 0 || last) {
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - mark;
      const double per_step = taken.count() / static_cast<double>(step_ - mark_step);
      mark = std::chrono::steady_clock::now();
      mark_step = step_;
      log_step(loss, norm, per_step, *events);
      job.report({.stage = fmt::format("train loss {:.4f}, {:.2f} s a step", loss, per_step), .done = step_, .of = options_.steps});
    }
    if (last || stop || step_ % options_.save_every == 0) save();
    if (last || (!stop && options_.validate_every > 0 && step_ % options_.validate_every == 0)) {
      validate(*validation, *events, result);
      mark = std::chrono::steady_clock::now();
      mark_step = step_;
    }
    if (stop && !last) throw Cancelled();
  }
  return result;
}

}  // namespace

TrainResult train_flux(const TrainOptions& options, Ranks& ranks, const Job& job) {
  check_fields(options);
  if (options.minutes > 0) throw_user_error({.where = "train", .problem = "task flux-lora does not end by `minutes`", .wanted = "`steps`"});
  if (!options.profile.empty())
    throw_user_error({.where = "train", .problem = "task flux-lora records no `profile`", .wanted = "task dr, flow or iqa"});
  return FluxRun(options, ranks).train(job);
}

}  // namespace resflow::train
