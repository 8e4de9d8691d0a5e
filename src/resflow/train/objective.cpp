#include "resflow/train/objective.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <optional>

#include "resflow/core/device.h"
#include "resflow/flow/denoise.h"
#include "resflow/flow/schedule.h"
#include "resflow/train/adversary.h"
#include "resflow/train/iqa_objective.h"
#include "resflow/train/lattice.h"
#include "resflow/train/noise.h"
#include "resflow/weights/load.h"

namespace resflow::train {
namespace {

// The frozen network of the feature loss.
class FeatureLoss {
 public:
  FeatureLoss(const TrainOptions& options, c10::Device device)
      : seed_(static_cast<uint64_t>(options.seed)), window_(options.feature_window), taught_share_(options.taught_features) {
    if (options.feature_weight == 0) return;
    if (options.feature_network.empty()) throw_user_error({.where = "train", .problem = "feature_weight is set, feature_network is not"});
    network_ = rewards::FeatureDistance::load(options.feature_network);
    network_->to(device);
  }
  explicit operator bool() const { return network_.has_value(); }

  // What pictures are compared with: per tap [B, C, h, w]. Without a teacher `taught` is empty.
  struct Target {
    std::vector<Tensor> clean, taught;
    Tensor pixels;  // [B, 3, h, w], of the picture that an adversary is shown as true
    // The teacher's where it is learnt at all, for it is what can be reached.
    const std::vector<Tensor>& real() const { return taught.empty() ? clean : taught; }
  };
  // indices: run-wide, one a picture. taught may be undefined.
  Target target(const Tensor& clean, const Tensor& taught, const std::vector<int64_t>& indices) const {
    at::NoGradGuard no_grad;
    Target out;
    if (!taught.defined() || taught_share_ < 1) out.clean = network_->features(out.pixels = views(clean, indices));
    if (taught.defined() && taught_share_ > 0) out.taught = network_->features(out.pixels = views(taught, indices));
    return out;
  }
  Adversary::Sight sight(const Tensor& images, const std::vector<int64_t>& indices) const {
    Tensor pixels = views(images, indices);
    return {.features = network_->features(pixels), .pixels = pixels};
  }
  // -> [B]
  Tensor distance_to(const std::vector<Tensor>& features, const Target& target) const {
    if (target.taught.empty()) return rewards::FeatureDistance::between(features, target.clean);
    const Tensor taught = rewards::FeatureDistance::between(features, target.taught);
    return target.clean.empty() ? taught : rewards::FeatureDistance::between(features, target.clean).lerp(taught, taught_share_);
  }
  std::vector<int64_t> channels() const { return network_->channels(); }

 private:
  // Each picture is seen through a window at a random place: the network's strides would otherwise always lie the same over the model's 4-px
  // cells, and the model would learn to please them with a pattern of that period. And turned or mirrored, for the network was trained on
  // upright pictures: eight views of it agree less on what is not in the picture.
  Tensor views(const Tensor& images, const std::vector<int64_t>& indices) const {
    constexpr int64_t kShifts = 8;  // places, at least, in each direction
    const auto side = [&](int64_t length) { return std::min(length - kShifts + 1, window_ > 0 ? window_ : length); };
    const int64_t count = images.size(0), height = side(images.size(2)), width = side(images.size(3));
    std::vector<Tensor> rows, columns;  // int64 [height], [width] a picture
    std::vector<int64_t> turned;
    for (const int64_t index : indices) {
      Stream draw(seed_, "train.view", static_cast<uint64_t>(index));
      const int64_t y = draw.integer(0, images.size(2) - height), x = draw.integer(0, images.size(3) - width);
      const auto line = [&](int64_t first, int64_t length) {
        const Tensor places = at::arange(first, first + length);
        return draw.chance(0.5) ? places.flip({0}) : places;
      };
      rows.push_back(line(y, height));
      columns.push_back(line(x, width));
      turned.push_back(draw.chance(0.5) && height == width ? 1 : 0);
    }
    // One gather for all: a slice a picture would cost a GPU more in launches than the network itself.
    const auto device = images.device();
    Tensor places = at::stack(rows).to(device).unsqueeze(2) * images.size(3) + at::stack(columns).to(device).unsqueeze(1);  // [B, height, width]
    if (height == width) places = at::where(at::tensor(turned, at::kLong).to(device).view({-1, 1, 1}) > 0, places.transpose(1, 2), places);
    return images.flatten(2).gather(2, places.flatten(1).unsqueeze(1).expand({-1, 3, -1})).view({count, 3, height, width});
  }

  uint64_t seed_;
  int64_t window_;
  double taught_share_;
  std::optional<rewards::FeatureDistance> network_;
};

constexpr double kTypicalMix = 0.75;  // of the teacher's picture in validation's reference

// Kernels for a GPU are chosen anew for every number of samples, which takes a hundred times as long as running them. So where only some of a batch
// are worked on, their number is made one of a few: the last one stands in for those that are wanting, and what comes of these is left out again.
std::vector<int64_t> rounded_up(std::vector<int64_t> places, const Tensor& batch) {
  if (batch.is_cpu() || places.empty()) return places;
  const auto step = static_cast<size_t>((batch.size(0) + 3) / 4);  // four numbers at most
  places.resize((places.size() + step - 1) / step * step, places.back());
  return places;
}

Tensor wide(const Tensor& values) { return values.view({-1, 1, 1, 1}); }
Tensor selected(const Tensor& pictures, const Tensor& places) { return pictures.defined() ? pictures.index_select(0, places) : Tensor(); }

// The adversary's own loss and that of what made the pictures. shares [B]: each sample's in both. Adam's steps do not depend on a loss's
// scale, so its own gets the same weight, and neither fills the gradient's largest norm alone.
void add_adversary(const Adversary& adversary, const Adversary::Sight& sight, const FeatureLoss::Target& target, const Tensor& shares, double weight,
                   Loss& out) {
  const Tensor own = (adversary.own_loss({.features = target.real(), .pixels = target.pixels}, sight) * shares).sum();
  const Tensor seen = (adversary.seen_through(sight) * shares).sum();
  out.terms.emplace_back("adversary", own.detach());
  out.terms.emplace_back("seen_through", seen.detach());
  out.total = out.total + weight * (own + seen);
}

// L1 or L2, plus the feature distance where asked: PSNR-oriented.
class RemoverObjective final : public Objective {
 public:
  RemoverObjective(const TrainOptions& options, c10::Device device) : options_(options), module_(options.model), features_(options, device) {
    if (options.adversarial_weight > 0) adversary_.emplace(module_, features_.channels());
  }
  nn::Module& module() override { return module_; }
  std::string part() const override { return "dr"; }

  Loss loss(const Batch& part, int64_t first_index) const override {
    const Tensor restored = module_.forward(part.degraded).reference, aim = part.aim(options_.taught_share);
    Loss out;
    const bool squared = options_.pixel_loss == "l2";
    out.total = squared ? at::mse_loss(restored, aim) : at::l1_loss(restored, aim);
    out.terms.emplace_back(options_.pixel_loss, out.total.detach());
    if (features_) {
      std::vector<int64_t> indices(static_cast<size_t>(restored.size(0)));
      std::iota(indices.begin(), indices.end(), first_index);
      const auto sight = features_.sight(restored, indices);
      const auto target = features_.target(part.clean, part.taught, indices);
      const Tensor distance = features_.distance_to(sight.features, target).mean();
      out.terms.emplace_back("feature", distance.detach());
      out.total = out.total + options_.feature_weight * distance;
      if (adversary_)
        add_adversary(*adversary_, sight, target, at::full({restored.size(0)}, 1.0 / static_cast<double>(restored.size(0)), restored.options()),
                      options_.adversarial_weight, out);
    }
    return out;
  }

  std::vector<std::pair<std::string, Tensor>> restore(const Tensor& degraded, const Tensor&, const Tensor&, int64_t) const override {
    return {{"", module_.forward(degraded).reference}};
  }

 private:
  TrainOptions options_;
  models::CompactRemover module_;
  FeatureLoss features_;
  std::optional<Adversary> adversary_;
};

// Velocity loss on an x0-prediction, plus the feature distance of x0. Three kinds of samples:
//   faithful  t = 1 at the smallest start noise: what one step is asked for.
//   chosen    the start noise is the best of several for this picture (as in implicit maximum likelihood, 1809.09087), so that the noise comes to
//             mean something and siblings differ; half of them go on at t < 1 from the model's own estimate, as sampling does.
//   flow      z between the clean picture and the start, at any t. Here the feature distance fades as the noise of z grows: the estimate must stay
//             the mean, or the flow loses its diversity.
class FlowObjective final : public Objective {
 public:
  FlowObjective(const TrainOptions& options, c10::Device device)
      : options_(options), remover_(options.model), module_(options.model), features_(options, device) {
    if (options.remover.empty())
      throw_user_error({.where = "train", .problem = "task flow needs `remover`", .wanted = "weights of a trained remover"});
    weights::load_strict(remover_, weights::TensorFile::open(options.remover), "dr.", {.dtype = at::kFloat, .device = device});
    if (options.adversarial_weight > 0) adversary_.emplace(module_, features_.channels());
  }
  nn::Module& module() override { return module_; }
  std::string part() const override { return "flow"; }
  void absorb(const Tensor& pattern) override { lattice_.absorb(pattern); }
  std::vector<std::pair<std::string, Tensor>> memory() const override {
    if (options_.lattice_weight == 0) return {};
    return {{"lattice.mean", lattice_.mean}, {"lattice.batches", lattice_.batches}};
  }

  Loss loss(const Batch& part, int64_t first_index) const override {
    const Tensor aim = part.aim(options_.taught_share);
    const auto options = aim.options();
    const Samples samples = draw(aim.size(0), first_index);
    const Tensor sigma_s = at::tensor(samples.sigmas, options);  // [B]

    models::CompactRemover::Output removed;
    {
      at::NoGradGuard no_grad;
      removed = remover_.forward(part.degraded);
      start_from_teacher(part, samples, removed.reference);
    }
    const auto condition = module_.prepare(part.degraded, removed, heard(part.words, first_index));
    Tensor start = removed.reference + wide(sigma_s) * noises(samples.indices, 0, aim);
    Tensor destination = aim.clone();  // what z lies on the way to
    if (!samples.chosen.empty()) choose(part, aim, samples, condition, start, destination);
    const Tensor t = at::tensor(samples.times, options);  // [B]
    const Tensor z = (1 - wide(t)) * destination + wide(t) * start;
    const Tensor x0 = module_.predict_x0(z, t, sigma_s, condition);  // [B, 3, H, W]

    // From the model's own estimate z holds nothing of the aim: no reason to weigh late steps more.
    const Tensor weight = module_.loss_weight(at::where(at::tensor(samples.own, options) > 0, at::ones_like(t), t), sigma_s);
    const Tensor flow = ((x0 - aim).square().mean({1, 2, 3}) * weight).mean();
    Loss out{.total = flow, .terms = {{"velocity", flow.detach()}}, .pattern = {}};
    if (features_) add_features(x0, part, samples, out);
    if (options_.lattice_weight > 0) {
      const Tensor patterns = lattice_pattern(x0, part.clean);
      out.total = out.total + options_.lattice_weight * lattice_.loss(patterns);
      out.terms.emplace_back("lattice", at::scalar_tensor(lattice_.size()));
      out.pattern = patterns.detach().mean(0);
    }
    return out;
  }

  std::vector<std::pair<std::string, Tensor>> restore(const Tensor& degraded, const Tensor& taught, const Tensor& words,
                                                      int64_t index) const override {
    auto removed = remover_.forward(degraded);
    auto out = restore_from(removed, degraded, {}, index, "");
    if (module_.knows_words())
      for (auto& variant : restore_from(removed, degraded, words, index, " told")) out.push_back(std::move(variant));
    if (!taught.defined() || options_.teacher_reference == 0) return out;
    removed.reference = removed.reference.lerp(taught, kTypicalMix);
    out.emplace_back("teacher's mixture", removed.reference);
    for (auto& variant : restore_from(removed, degraded, {}, index, " from it")) out.push_back(std::move(variant));
    return out;
  }

 private:
  std::vector<std::pair<std::string, Tensor>> restore_from(const models::CompactRemover::Output& removed, const Tensor& degraded, const Tensor& words,
                                                           int64_t index, const std::string& suffix) const {
    const auto condition = module_.prepare(degraded, removed, words);
    const Tensor field = start_noises(module_, {Stream(48, "validation.noise", static_cast<uint64_t>(index))}, degraded);
    std::vector<std::pair<std::string, Tensor>> out;
    for (const double sigma : options_.validation_sigma_s) {
      const Tensor sigma_s = at::full({1}, sigma, degraded.options());
      const flow::VelocityFn velocity = [&](const Tensor& z, double t) {
        return module_.velocity(z, at::full({1}, t, z.options()), sigma_s, condition);
      };
      const auto sigmas = flow::shift_sigmas(flow::linear_sigmas(static_cast<int>(options_.validation_steps)), module_.time_shift(sigma));
      out.emplace_back(fmt::format("sigma_s={}{}", sigma, suffix),
                       flow::denoise(velocity, condition.reference + sigma * field, sigmas, *flow::samplers().make("euler")));
    }
    return out;
  }

  // One entry a sample.
  struct Samples {
    std::vector<int64_t> indices;       // run-wide
    std::vector<double> times, sigmas;  // t, sigma_s
    std::vector<double> own;            // 1: z is on the way to the model's own estimate
    std::vector<int64_t> chosen;        // which of the part's samples choose their noise
    std::vector<double> mixes;          // the teacher's share in the reference; 0: the remover's alone
  };

  // Of samples like those of `like`, [B, 3, H, W]. attempt: which of the noises that a sample may try.
  Tensor noises(const std::vector<int64_t>& indices, int64_t attempt, const Tensor& like) const {
    std::vector<Stream> streams;
    for (const int64_t index : indices)
      streams.push_back(attempt == 0 ? stream(index).child("noise") : stream(index).child("choice", static_cast<uint64_t>(attempt)));
    return start_noises(module_, streams, like);
  }

  Samples draw(int64_t count, int64_t first_index) const {
    Samples out;
    for (int64_t i = 0; i < count; ++i) {
      Stream draw = stream(first_index + i);
      const size_t kind = draw.pick({options_.faithful, options_.chosen, std::max(0.0, 1 - options_.faithful - options_.chosen)});
      const bool at_start = kind == 0 || draw.chance(kind == 1 ? 0.5 : options_.noiseless);
      const double along = kind == 0 ? 0 : draw.uniform();
      out.indices.push_back(first_index + i);
      out.sigmas.push_back(options_.sigma_s_low * std::pow(options_.sigma_s_high / options_.sigma_s_low, along));
      out.times.push_back(at_start ? 1.0 : flow::shift_sigmas({draw.uniform(0.02, 1.0)}, module_.time_shift(out.sigmas.back()))[0]);
      out.own.push_back(kind == 1 ? 1 : 0);
      if (kind == 1) out.chosen.push_back(i);
      Stream reference = draw.child("reference");
      out.mixes.push_back(reference.chance(options_.teacher_reference) ? reference.uniform(0.5, 1) : 0);
    }
    return out;
  }
  Stream stream(int64_t index) const { return {static_cast<uint64_t>(options_.seed), "train.flow", static_cast<uint64_t>(index)}; }

  // The words that the model is told: a user may say some of them, or none. -> int64 [B, kFlaws]
  Tensor heard(const Tensor& words, int64_t first_index) const {
    if (!module_.knows_words()) return {};
    std::vector<int64_t> kept;
    for (int64_t i = 0; i < words.size(0); ++i) {
      Stream draw = stream(first_index + i).child("words");
      const bool none = draw.chance(options_.word_dropout);
      for (int64_t flaw = 0; flaw < models::kFlaws; ++flaw) kept.push_back(!none && !draw.chance(options_.word_dropout) ? 1 : 0);
    }
    const Tensor said = at::tensor(kept, at::kLong).view({-1, models::kFlaws}).to(words.device());
    return at::where(said > 0, words, models::word_numbers({}).to(words.device()));
  }

  // Users mix a network's picture with the remover's at a share of their own (`--reference-mix`): any of a half and more is seen in training.
  void start_from_teacher(const Batch& part, const Samples& samples, Tensor& reference) const {
    if (options_.teacher_reference == 0 || !part.taught.defined()) return;
    const Tensor mix = at::tensor(samples.mixes, reference.options()) * part.known;
    reference = reference.lerp(part.taught, wide(mix));
  }

  // For the samples that choose: the start (its first choice is what stands there) and the model's estimate from it.
  void choose(const Batch& part, const Tensor& aim, const Samples& samples, const models::CompactCondition& condition, Tensor& start,
              Tensor& destination) const {
    at::NoGradGuard no_grad;
    const auto options = part.clean.options();
    const auto worked_on = rounded_up(samples.chosen, part.clean);
    const auto count = static_cast<int64_t>(worked_on.size());
    const Tensor places = at::tensor(worked_on, at::TensorOptions().dtype(at::kLong).device(part.clean.device()));
    const auto own = models::select(condition, places);
    const Tensor goal = aim.index_select(0, places), sigma_s = at::tensor(samples.sigmas, options).index_select(0, places);
    const Tensor ones = at::ones({count}, options), weight = module_.loss_weight(ones, sigma_s);
    std::vector<int64_t> indices;
    for (const int64_t i : worked_on) indices.push_back(samples.indices[static_cast<size_t>(i)]);
    FeatureLoss::Target target;
    if (features_) target = features_.target(part.clean.index_select(0, places), selected(part.taught, places), indices);

    Tensor best, starts, estimates;
    for (int64_t choice = 0; choice < options_.choices; ++choice) {
      Tensor tried = start.index_select(0, places);
      if (choice > 0) tried = own.reference + wide(sigma_s) * noises(indices, choice, goal);
      const Tensor x0 = module_.predict_x0(tried, ones, sigma_s, own);
      Tensor loss = (x0 - goal).square().mean({1, 2, 3}) * weight;  // [count]
      if (features_) loss = loss + options_.feature_weight * features_.distance_to(features_.sight(x0, indices).features, target);
      const Tensor better = choice == 0 ? at::ones_like(loss, at::kBool) : loss < best;
      best = choice == 0 ? loss : at::where(better, loss, best);
      starts = choice == 0 ? tried : at::where(wide(better), tried, starts);
      estimates = choice == 0 ? x0 : at::where(wide(better), x0, estimates);
    }
    const auto wanted = [&](const Tensor& t) { return t.narrow(0, 0, static_cast<int64_t>(samples.chosen.size())); };
    start = start.index_copy(0, wanted(places), wanted(starts));
    destination = destination.index_copy(0, wanted(places), wanted(estimates));
  }

  void add_features(const Tensor& x0, const Batch& part, const Samples& samples, Loss& out) const {
    // Where it has faded below a half it is not worth its time.
    const auto count = samples.indices.size();
    std::vector<int64_t> seen, indices;
    std::vector<double> fade, started;
    for (size_t i = 0; i < count; ++i) {
      const double weight = samples.own[i] > 0 ? 1.0 : std::min(1.0, options_.feature_sigma_s / (samples.times[i] * samples.sigmas[i]));
      if (weight < 0.5) continue;
      seen.push_back(static_cast<int64_t>(i));
      fade.push_back(weight);
      // What one step makes of a start: elsewhere the estimate must stay the mean.
      started.push_back(samples.times[i] == 1 ? 1.0 / static_cast<double>(count) : 0.0);
    }
    seen = rounded_up(std::move(seen), part.clean);
    fade.resize(seen.size(), 0.0);
    started.resize(seen.size(), 0.0);
    for (const int64_t i : seen) indices.push_back(samples.indices[static_cast<size_t>(i)]);
    const auto options = part.clean.options();
    Tensor sum = at::zeros({}, options);
    if (!seen.empty()) {
      const Tensor places = at::tensor(seen, at::TensorOptions().dtype(at::kLong).device(options.device()));
      const auto sight = features_.sight(x0.index_select(0, places), indices);
      const auto target = features_.target(part.clean.index_select(0, places), selected(part.taught, places), indices);
      const Tensor distance = features_.distance_to(sight.features, target);
      if (adversary_) add_adversary(*adversary_, sight, target, at::tensor(started, options), options_.adversarial_weight, out);
      sum = (distance * at::tensor(fade, options)).sum() / static_cast<double>(count);
    } else if (adversary_) {
      for (const char* term : {"adversary", "seen_through"}) out.terms.emplace_back(term, at::zeros({}, options));  // parts have the same terms
    }
    out.terms.emplace_back("feature", sum.detach());
    out.total = out.total + options_.feature_weight * sum;
  }

  TrainOptions options_;
  models::CompactRemover remover_;
  models::CompactFlow module_;
  FeatureLoss features_;
  std::optional<Adversary> adversary_;
  LatticeMemory lattice_;
};

}  // namespace

std::unique_ptr<Objective> make_objective(const TrainOptions& options, c10::Device device) {
  if (options.adversarial_weight > 0 && options.feature_weight == 0)
    throw_user_error({.where = "train",
                      .problem = "adversarial_weight is set, feature_weight is not",
                      .hint = "The adversary sees through the feature loss's network"});
  if (options.task == "iqa") return std::make_unique<IqaObjective>(options, device);
  if (options.task == "flow") return std::make_unique<FlowObjective>(options, device);
  return std::make_unique<RemoverObjective>(options, device);
}

}  // namespace resflow::train
