#include "resflow/train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <optional>

#include "resflow/core/device.h"
#include "resflow/core/files.h"
#include "resflow/core/log.h"
#include "resflow/train/adversary.h"
#include "resflow/train/events.h"
#include "resflow/train/gradient_buckets.h"
#include "resflow/train/gradients.h"
#include "resflow/train/optimizer.h"
#include "resflow/train/pool.h"
#include "resflow/train/run_folder.h"
#include "resflow/train/step_profile.h"
#include "resflow/train/teacher.h"
#include "resflow/train/validation.h"
#include "resflow/weights/load.h"

namespace resflow::train {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool of_adversary(std::string_view parameter) { return parameter.starts_with(std::string(Adversary::kName) + "."); }

// What is trained without what only its training needs: an adversary starts anew.
void load_into_model(nn::Module& trained, const std::string& path, const std::string& part, c10::Device device) {
  class Model : public nn::Module {
   public:
    explicit Model(const nn::Module& trained) {
      for (const auto& parameter : trained.named_parameters())
        if (!of_adversary(parameter.name)) declare(parameter.name, *parameter.slot, parameter.shape);
    }
  };
  Model model(trained);
  weights::load_strict(model, weights::TensorFile::open(path), part + ".", {.dtype = at::kFloat, .device = device});
}

// Before anything is read or built: what the ranges of the single options do not say.
const TrainOptions& checked(const TrainOptions& o) {
  check_fields(o);
  const auto refuse = [](const std::string& name, const std::string& wanted, const std::string& got) {
    throw_user_error({.where = "train", .problem = name, .wanted = wanted, .got = got});
  };
  if (o.crop % 16 != 0) refuse("crop", "a multiple of 16", std::to_string(o.crop));
  if (o.batch % o.reuse != 0) refuse("reuse", fmt::format("a divisor of the batch, {}", o.batch), std::to_string(o.reuse));
  if (o.lattice_weight > 0 && (o.crop % 32 != 0 || o.crop < 64))
    refuse("crop", "a multiple of 32, at least 64, with lattice_weight", std::to_string(o.crop));
  if (o.model.width % o.model.heads != 0 || o.model.width / o.model.heads % 16 != 0)
    refuse("model", "a width that is heads times a multiple of 16", fmt::format("width {}, heads {}", o.model.width, o.model.heads));
  if (o.faithful + o.chosen > 1) refuse("faithful and chosen", "a sum of at most 1", fmt::format("{} and {}", o.faithful, o.chosen));
  if (o.sigma_s_low > o.sigma_s_high) refuse("sigma_s_low", "at most sigma_s_high", fmt::format("{} and {}", o.sigma_s_low, o.sigma_s_high));
  for (const double scale : o.scales)
    if (scale != std::floor(scale) || scale < 1 || scale > 8) refuse("scales", "whole numbers of 1 to 8", Json(o.scales).dump());
  for (const auto* weights : {&o.recipe_weights, &o.scale_weights}) {
    double sum = 0;
    for (const double weight : *weights) sum += weight >= 0 ? weight : -std::numeric_limits<double>::infinity();
    if (!(sum > 0)) refuse("recipe_weights and scale_weights", "numbers of 0 or more, one above 0", Json(*weights).dump());
  }
  for (const double sigma : o.validation_sigma_s)
    if (!(sigma > 0)) refuse("validation_sigma_s", "numbers above 0", Json(o.validation_sigma_s).dump());
  return o;
}

class Run {
 public:
  Run(const TrainOptions& options, Ranks& ranks)
      : options_(options),
        ranks_(ranks),
        share_(ranks.share("batch", checked(options).batch)),
        device_(ranks.device()),
        objective_(make_objective(options, device_)),
        folder_(options.output, ranks.first()) {
    at::set_num_threads(1);  // `workers` are the parallelism
    start_weights();
  }

  TrainResult train(const Job& job);
  Json validate() {
    optimizer_->swap_average();
    const auto result = Validation(options_, device_).run(*objective_);
    optimizer_->swap_average();
    return result.scores;
  }

 private:
  void start_weights();
  std::vector<std::pair<std::string, Tensor>> state() const;  // what a checkpoint holds
  // How much of the training is behind it, 0..1: of its steps, or of its time where that is further on.
  double progress() const;
  // Steps done; in a given time seconds, of which no more will be taken than that.
  void report(const Job& job, const std::string& stage) const;
  Gradients gradients(const std::vector<Tensor>& parameters, const Batch& batch, GradientBuckets& buckets) const;
  void save(bool export_weights) const;
  void log_step(const Gradients& gradients, double rate, double per_step, EventFile& events);
  void run_validation(const Validation& validation, EventFile& events);

  TrainOptions options_;
  Ranks& ranks_;
  Ranks::Share share_;  // of a batch
  c10::Device device_;
  std::unique_ptr<Objective> objective_;
  RunFolder folder_;
  std::optional<AdamW> optimizer_;
  std::unique_ptr<Teacher> teacher_;
  int64_t step_ = 0;
  Tensor seconds_ = at::zeros({}, at::kDouble);  // of training, over all sittings
  TrainResult result_;
};

void Run::start_weights() {
  nn::Module& module = objective_->module();
  module.initialise(Stream(static_cast<uint64_t>(options_.seed), "train.init"));
  module.to(device_, at::kFloat);
  if (ranks_.first() && !options_.init_from.empty() && !std::filesystem::exists(folder_.checkpoint()))
    load_into_model(module, options_.init_from, objective_->part(), device_);
  for (const auto& tensor : module.named_parameters()) *tensor.slot = tensor.slot->clone();  // not views of a file
  optimizer_.emplace(module, AdamW::Options{.beta2 = options_.beta2, .weight_decay = options_.weight_decay, .ema = options_.ema});
  std::vector<Tensor> all;
  for (const auto& [name, tensor] : state()) all.push_back(tensor);
  step_ = ranks_.start_alike(all, ranks_.first() ? folder_.resume(state()) : 0);
  module.requires_grad(true);
}

std::vector<std::pair<std::string, Tensor>> Run::state() const {
  auto out = optimizer_->state();
  for (auto& [name, tensor] : objective_->memory()) out.emplace_back("objective." + name, tensor);
  if (options_.minutes > 0) out.emplace_back("trainer.seconds", seconds_);
  return out;
}

double Run::progress() const {
  const double by_steps = static_cast<double>(step_) / static_cast<double>(options_.steps);
  return options_.minutes > 0 ? std::max(by_steps, seconds_.item<double>() / (60 * options_.minutes)) : by_steps;
}

void Run::report(const Job& job, const std::string& stage) const {
  if (options_.minutes == 0) return job.report({.stage = stage, .done = step_, .of = options_.steps});
  const double seconds = 60 * options_.minutes;
  job.report({.stage = fmt::format("step {}: {}; seconds", step_, stage),
              .done = static_cast<int64_t>(std::min(1.0, progress()) * seconds),
              .of = std::max<int64_t>(1, static_cast<int64_t>(seconds))});
}

void Run::save(bool export_weights) const {
  folder_.save(state(), step_, fields_to_json(options_));
  if (!export_weights) return;
  std::vector<std::pair<std::string, Tensor>> average;
  for (const auto& [name, tensor] : optimizer_->state())
    if (name.starts_with("ema.") && !of_adversary(name.substr(4)))
      average.emplace_back(objective_->part() + "." + name.substr(4), tensor.to(at::kHalf));
  weights::write_safetensors(
      folder_.path() / "weights.safetensors", average,
      {{"family", "compact"}, {"part", objective_->part()}, {"config", fields_to_json(options_.model).dump()}, {"step", std::to_string(step_)}});
}

void Run::run_validation(const Validation& validation, EventFile& events) {
  optimizer_->swap_average();
  auto measured = validation.run(*objective_);
  optimizer_->swap_average();
  if (!measured.grid.defined()) return;
  result_.validation = measured.scores;
  folder_.log({{"step", step_}, {"validation", measured.scores}});
  for (const auto& [variant, scores] : measured.scores.items()) {
    for (const auto& [metric, value] : scores.items()) events.scalar(step_, "validation/" + metric + "/" + variant, value.get<double>());
    log_info(fmt::format("  validation {:14} {}", variant, scores.dump()));
  }
  const std::string png = png_bytes(measured.grid);
  create_folder(folder_.path() / "samples");
  write_text_atomically(folder_.path() / "samples" / fmt::format("{:07}.png", step_), png);
  events.image(step_, "validation/samples", measured.grid.size(1), measured.grid.size(2), png);
}

// Of the whole batch, whose part is this rank's.
Gradients Run::gradients(const std::vector<Tensor>& parameters, const Batch& batch, GradientBuckets& buckets) const {
  const bool bf16 = parse_dtype(options_.dtype, device_) == at::kBFloat16;
  Gradients out = compute_gradients(*objective_, parameters, batch, step_ * options_.batch + share_.from, device_.is_cpu() ? options_.workers : 1,
                                    bf16, buckets.sink());
  buckets.finish(out.values);
  std::vector<double> means = {out.loss};
  for (const auto& [name, value] : out.terms) means.push_back(value);
  ranks_.average(means);
  out.loss = means[0];
  for (size_t i = 0; i < out.terms.size(); ++i) out.terms[i].second = means[i + 1];
  ranks_.average(out.pattern);
  return out;
}

void Run::log_step(const Gradients& gradients, double rate, double per_step, EventFile& events) {
  Json entry = {{"step", step_}, {"loss", gradients.loss}};
  events.scalar(step_, "train/loss", gradients.loss);
  for (const auto& [name, value] : gradients.terms) {
    entry[name] = value;
    events.scalar(step_, "train/" + name, value);
  }
  entry["learning_rate"] = rate;
  entry["seconds_per_step"] = per_step;
  folder_.log(entry);
}

TrainResult Run::train(const Job& job) {
  const bool bf16 = parse_dtype(options_.dtype, device_) == at::kBFloat16;
  if (!options_.teacher.empty()) teacher_ = std::make_unique<Teacher>(options_.teacher, device_, bf16 ? at::kBFloat16 : at::kFloat);
  const Dataset dataset(options_, teacher_ != nullptr ? teacher_->scale() : 0);
  std::optional<Validation> validation;  // these two: the first rank's
  std::optional<EventFile> events;
  if (ranks_.first()) {
    validation.emplace(options_, device_);
    folder_.open_log(step_);
    events.emplace(folder_.path());
    log_info(fmt::format("training {} ({} parameters) on {} images, {}, {}{}{}", objective_->part(), objective_->module().parameter_count(),
                         dataset.images(), device_.str(), bf16 ? "bf16" : "f32", ranks_.described(),
                         step_ > 0 ? fmt::format(", resuming at step {}", step_) : ""));
  }

  const auto parameters = optimizer_->parameters();
  GradientBuckets buckets(ranks_, parameters, options_.ranks.bucket);
  std::optional<Pool> pool;
  if (options_.reuse > 1 && ranks_.count() > 1)
    throw_user_error({.where = "train",
                      .problem = "reuse with several ranks",
                      .wanted = "reuse = 1",
                      .got = std::to_string(options_.reuse),
                      .hint = "Each rank would draw from a pool of its own samples; one process on one GPU may reuse"});
  if (options_.reuse > 1) pool.emplace(options_);
  const BatchPart part = pool ? BatchPart{pool->fresh(), 0, pool->fresh()} : BatchPart{options_.batch, share_.from, share_.to};
  const int64_t first = pool ? pool->first_batch(step_) : step_;
  BatchLoader loader(dataset, part, first, options_.loaders, device_.is_cuda());
  const auto next = [&] {
    Batch batch = loader.next();
    for (Tensor* tensor : {&batch.clean, &batch.degraded, &batch.taught, &batch.known, &batch.small, &batch.places, &batch.words})
      if (tensor->defined()) *tensor = tensor->to(device_, /*non_blocking=*/true);
    return teacher_ != nullptr ? teacher_->teach(std::move(batch)) : batch;
  };
  for (int64_t number = first; number < step_; ++number) pool->add(next(), number);
  auto mark = std::chrono::steady_clock::now(), tick = mark;
  int64_t mark_step = step_;
  StepProfile profile(ranks_.first() ? options_.profile : "", device_);  // one file: the first rank's
  while (progress() < 1) {
    profile.next_step();
    Batch batch = next();
    if (pool) {
      pool->add(batch, step_);
      batch = pool->draw(step_);
    }
    Gradients gradients = this->gradients(parameters, batch, buckets);
    const double norm = clip_gradients(gradients.values, options_.clip_norm);
    if (!std::isfinite(gradients.loss) || !std::isfinite(norm))
      throw_user_error({.where = "train",
                        .problem = fmt::format("the loss is not finite at step {}", step_ + 1),
                        .hint = "Lower learning_rate or clip_norm; the last checkpoint is good"});
    ++step_;
    const double rate = learning_rate_at(options_, step_, progress());
    optimizer_->step(step_, rate, gradients.values);
    if (gradients.pattern.defined()) objective_->absorb(gradients.pattern);
    seconds_.add_(options_.minutes > 0 ? ranks_.of_first(seconds_since(tick)) : seconds_since(tick));
    tick = std::chrono::steady_clock::now();
    const bool last = progress() >= 1, stop = ranks_.any(job.stop.stop_requested());

    result_.step = step_;
    result_.loss = gradients.loss;
    if (!ranks_.first()) {
      if (stop && !last) throw Cancelled();
      continue;
    }
    if (step_ % options_.log_every == 0 || last) {
      const double per_step = seconds_since(mark) / static_cast<double>(step_ - mark_step);
      mark = std::chrono::steady_clock::now();
      mark_step = step_;
      log_step(gradients, rate, per_step, *events);
      report(job, fmt::format("train loss {:.4f}, {:.2f} s a step, waited {:.0f} s for data", gradients.loss, per_step, loader.waited_seconds()));
    }
    if (last || stop || step_ % options_.save_every == 0) save(true);
    if (last || (options_.validate_every > 0 && step_ % options_.validate_every == 0)) {
      run_validation(*validation, *events);
      mark = std::chrono::steady_clock::now();
      mark_step = step_;
    }
    if (stop && !last) throw Cancelled();
  }
  profile.end();
  return result_;
}

}  // namespace

TrainResult train(const TrainOptions& options, Ranks& ranks, const Job& job) { return Run(options, ranks).train(job); }

Json validate(const TrainOptions& options) {
  Ranks alone(parse_device(options.device));
  return Run(options, alone).validate();
}

Json measure_loading(const TrainOptions& options, double seconds, const Job& job) {
  using Clock = std::chrono::steady_clock;
  const Dataset dataset(options);
  BatchLoader loader(dataset, {options.batch, 0, options.batch}, 0, options.loaders, false);
  // What the loaders have made ahead would count as made in no time.
  for (int64_t i = 0; i < 2 * loader.ahead(); ++i) loader.next();
  const auto start = Clock::now();
  int64_t crops = 0;
  double taken = 0;
  while (taken < seconds) {
    job.throw_if_stopped();
    loader.next();
    crops += options.batch;
    taken = std::chrono::duration<double>(Clock::now() - start).count();
    job.report({.stage = "preparing batches", .done = static_cast<int64_t>(taken), .of = static_cast<int64_t>(std::ceil(seconds))});
  }
  return {{"crops", crops}, {"seconds", taken}, {"crops_per_second", static_cast<double>(crops) / taken}, {"loaders", options.loaders}};
}

}  // namespace resflow::train
