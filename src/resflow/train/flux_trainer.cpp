#include "resflow/train/flux_trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

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

class FluxRun {
 public:
  explicit FluxRun(const TrainOptions& options)
      : options_(options), device_(parse_device(options.device)), shards_(options.data), objective_(options, device_), folder_(options.output) {
    if (device_.is_cpu()) at::set_num_threads(static_cast<int>(options_.workers));
    objective_.initialise();
    optimizer_.emplace(optimizer_of(options_, objective_.module()));
    step_ = folder_.resume(state());
    objective_.module().requires_grad(true);
    objective_.module().attach();
  }
  TrainResult train(const Job& job);

 private:
  NamedTensors state() const {
    return std::visit([](const auto& optimizer) { return optimizer.state(); }, *optimizer_);
  }
  double gradients(std::vector<Tensor>& sum) const;
  void save() const;
  void validate(const FluxValidation& validation, EventFile& events, TrainResult& result);

  TrainOptions options_;
  c10::Device device_;
  LatentShards shards_;
  FluxObjective objective_;
  RunFolder folder_;
  std::optional<Optimizer> optimizer_;
  int64_t step_ = 0;
};

// Of the step's batches, averaged. -> their mean loss
double FluxRun::gradients(std::vector<Tensor>& sum) const {
  at::AutoGradMode with_gradients(true);
  const auto parameters = std::visit([](const auto& optimizer) { return optimizer.parameters(); }, *optimizer_);
  const double share = 1 / static_cast<double>(options_.flux.accumulate);
  double loss = 0;
  for (int64_t i = 0; i < options_.flux.accumulate; ++i) {
    const Tensor part = objective_.loss(objective_.batch(shards_, step_ * options_.flux.accumulate + i));
    loss += share * part.item<double>();
    auto found = torch::autograd::grad({part}, parameters, {}, std::nullopt, /*create_graph=*/false, /*allow_unused=*/true);
    for (size_t p = 0; p < parameters.size(); ++p) {
      if (!found[p].defined()) found[p] = at::zeros_like(parameters[p]);  // what the last block makes of the condition's tokens is seen by nobody
      if (i == 0) {
        sum.push_back(found[p] * share);
      } else {
        sum[p].add_(found[p], share);
      }
    }
  }
  return loss;
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

TrainResult FluxRun::train(const Job& job) {
  const FluxValidation validation(options_, device_);
  folder_.open_log(step_);
  EventFile events(folder_.path());
  log_info(fmt::format("training a fusion for FLUX ({}: {} of {} parameters) on {} samples, {}, {}{}", options_.fusion.fusion,
                       objective_.module().parameter_count(), objective_.transformer().parameter_count(), shards_.samples(), device_.str(),
                       dtype_name(parse_dtype(options_.dtype, device_)), step_ > 0 ? fmt::format(", resuming at step {}", step_) : ""));
  TrainResult result{.step = step_};
  auto mark = std::chrono::steady_clock::now();
  int64_t mark_step = step_;
  while (step_ < options_.steps) {
    std::vector<Tensor> sum;
    const double loss = gradients(sum), norm = clip_gradients(sum, options_.clip_norm);
    if (!std::isfinite(loss) || !std::isfinite(norm))
      throw_user_error({.where = "train",
                        .problem = fmt::format("the loss is not finite at step {}", step_ + 1),
                        .hint = "Lower learning_rate or clip_norm; the last checkpoint is good"});
    ++step_;
    std::visit([&](auto& optimizer) { optimizer.step(step_, learning_rate_at(options_, step_), sum); }, *optimizer_);
    result.step = step_;
    result.loss = loss;
    if (step_ % options_.log_every == 0 || step_ == options_.steps) {
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - mark;
      const double per_step = taken.count() / static_cast<double>(step_ - mark_step);
      mark = std::chrono::steady_clock::now();
      mark_step = step_;
      events.scalar(step_, "train/loss", loss);
      events.scalar(step_, "train/gradient_norm", norm);
      Json entry = {{"step", step_},
                    {"loss", loss},
                    {"gradient_norm", norm},
                    {"learning_rate", learning_rate_at(options_, step_)},
                    {"seconds_per_step", per_step}};
      if (const auto* prodigy = std::get_if<Prodigy>(&*optimizer_)) {
        entry["prodigy_d"] = prodigy->scale();
        events.scalar(step_, "train/prodigy_d", prodigy->scale());
      }
      folder_.log(entry);
      job.report({.stage = fmt::format("train loss {:.4f}, {:.2f} s a step", loss, per_step), .done = step_, .of = options_.steps});
    }
    const bool last = step_ == options_.steps, stop = job.stop.stop_requested();
    if (last || stop || step_ % options_.save_every == 0) save();
    if (last || (!stop && options_.validate_every > 0 && step_ % options_.validate_every == 0)) {
      validate(validation, events, result);
      mark = std::chrono::steady_clock::now();
      mark_step = step_;
    }
    if (stop && !last) throw Cancelled();
  }
  return result;
}

}  // namespace

TrainResult train_flux(const TrainOptions& options, const Job& job) {
  check_fields(options);
  if (options.minutes > 0) throw_user_error({.where = "train", .problem = "task flux-lora does not end by `minutes`", .wanted = "`steps`"});
  return FluxRun(options).train(job);
}

}  // namespace resflow::train
