#include "resflow/search/run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

namespace resflow::search {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kRounding = 1e-9;  // of sums of cost_per_sample

Tensor gather(const Group& group, const std::vector<size_t>& places, Tensor Candidate::*member) {
  if (places.size() == 1) return group[places.front()].*member;
  std::vector<Tensor> parts;
  for (const size_t i : places) parts.push_back(group[i].*member);
  return at::cat(parts);
}

void scatter(Group& group, const std::vector<size_t>& places, Tensor Candidate::*member, const Tensor& batch) {
  for (size_t k = 0; k < places.size(); ++k) group[places[k]].*member = places.size() == 1 ? batch : batch.narrow(0, static_cast<int64_t>(k), 1);
}

}  // namespace

Run::Run(const SearchProblem& problem, const SearchOptions& options)
    : problem_(problem),
      options_(options),
      perturbation_(perturbations().make(options.perturbation)),
      fusion_(rewards::fusion_named(options.fusion)) {
  TORCH_CHECK(problem.velocity && problem.sampler && problem.draw_noise, "search: the problem needs a velocity, a sampler and noise");
  TORCH_CHECK(problem.sigmas.size() >= 2 && problem.sigmas.back() == 0, "search: wanted sigmas that fall to 0");
  TORCH_CHECK(problem.cost_per_sample > 0, "search: cost_per_sample must be above 0");
  began_ = problem.clock ? problem.clock() : std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  trace_.options = fields_to_json(options);
  for (const auto& judge : problem.judges) trace_.rewards.push_back(judge.name);
  trace_.plain_nfe = calls_to_finish(0) * problem.cost_per_sample;
}

// ---- budget

double Run::seconds() const {
  return (problem_.clock ? problem_.clock() : std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count()) - began_;
}

bool Run::over() const { return problem_.job.stop.stop_requested() || (options_.time > 0 && seconds() >= options_.time); }

double Run::calls_left() const {
  double left = kInfinity;
  if (options_.budget > 0) left = options_.budget / problem_.cost_per_sample - calls_ + kRounding;
  if (options_.time > 0 && calls_ > 0) {
    const double spent = seconds();  // judging included
    left = std::min(left, spent > 0 ? (options_.time - spent) / (spent / calls_) : kInfinity);
  }
  return std::max(0.0, left);
}

bool Run::affords(double calls) const {
  if (calls <= calls_left()) return true;
  const bool within_budget = options_.budget == 0 || calls <= options_.budget / problem_.cost_per_sample - calls_ + kRounding;
  refused_ = within_budget ? "time" : "budget";
  return false;
}

double Run::calls_to_reach(int64_t from, int64_t to) const {
  // Nothing is asked at sigma 0, so the last step is one call with any sampler of two.
  const double per_step = problem_.sampler->calls_per_step();
  return from >= to ? 0 : static_cast<double>(to - from) * per_step - (to == steps() ? per_step - 1 : 0);
}

double Run::calls_to_finish(int64_t step) const { return calls_to_reach(step, steps()); }

Tensor Run::call(const Tensor& z, double sigma) {
  const auto count = static_cast<double>(z.size(0));
  if (problem_.job.stop.stop_requested()) throw SearchEnded{"stopped"};
  if (options_.time > 0 && seconds() >= options_.time) throw SearchEnded{"time"};
  if (options_.budget > 0 && (calls_ + count) * problem_.cost_per_sample > options_.budget + kRounding) throw SearchEnded{"budget"};
  calls_ += count;
  Tensor v = problem_.velocity(z, sigma);
  const double expected = std::max(0.0, options_.budget > 0 ? std::min(expected_, options_.budget) : expected_);
  problem_.job.report({.stage = "search", .done = std::llround(nfe()), .of = std::llround(expected)});
  return v;
}

// ---- rounds

std::vector<int64_t> Run::round_steps() const {
  std::vector<int64_t> within, out;
  for (int64_t i = 0; i < steps(); ++i)
    if (sigma(i) >= options_.round_low - kRounding && sigma(i) <= options_.round_high + kRounding) within.push_back(i);
  const auto available = static_cast<int64_t>(within.size()), count = std::min(options_.rounds, available);
  for (int64_t k = 0; k < count; ++k) out.push_back(within[static_cast<size_t>(k * available / count)]);
  return out;
}

double Run::rho_at(double sigma) const { return std::min(1.0, options_.rho * std::pow(sigma, options_.rho_decay)); }

// ---- candidates

Candidate Run::start(uint64_t index) { return start_from(problem_.draw_noise("start", index)); }

Candidate Run::start_from(const Tensor& noise) {
  Candidate out{.sigma = sigma(0), .z = start_sample(problem_.coordinates, noise, sigma(0)), .noise = noise};
  if (!lead_) lead_ = out;
  return out;
}

Tensor Run::fresh_noise() { return problem_.draw_noise("search", drawn_++); }

Candidate Run::kept(const Candidate& parent) const {
  Candidate out = parent;
  out.parent = parent.id;
  out.id = -1;
  out.kind = "kept";
  out.rho = 0;
  return out;
}

Candidate Run::perturbed(const Candidate& parent, double rho) {
  const Tensor noise = fresh_noise();
  const auto moved = perturbation_->apply(
      {.z = parent.z, .velocity = parent.velocity, .noise = noise, .sigma = parent.sigma, .rho = rho, .at = problem_.coordinates});
  return {.parent = parent.id, .kind = "perturbed", .step = parent.step, .sigma = moved.sigma, .rho = rho, .z = moved.z, .noise = parent.noise};
}

Group Run::expand(Group& parents, int64_t count, double rho) {
  const auto families = static_cast<int64_t>(parents.size());
  if (perturbing_needs_velocity() && count > families * (options_.elitism ? 1 : 0)) evaluate(parents);
  Group out;
  for (int64_t p = 0; p < families; ++p) {
    const int64_t size = count / families + (p < count % families ? 1 : 0);
    for (int64_t k = 0; k < size; ++k) {
      const auto& parent = parents[static_cast<size_t>(p)];
      out.push_back(k == 0 && options_.elitism ? kept(parent) : perturbed(parent, rho));
    }
  }
  return out;
}

// ---- model calls

std::vector<Run::Slice> Run::slices(const Group& group, bool unknown_velocity) const {
  std::vector<Slice> out;
  const auto most = options_.batch > 0 ? static_cast<size_t>(options_.batch) : group.size();
  for (size_t i = 0; i < group.size(); ++i) {
    const auto& c = group[i];
    if (unknown_velocity && c.velocity.defined()) continue;
    auto fits =
        std::find_if(out.begin(), out.end(), [&](const Slice& s) { return s.sigma == c.sigma && s.step == c.step && s.places.size() < most; });
    if (fits == out.end()) fits = out.insert(out.end(), {.sigma = c.sigma, .step = c.step});
    fits->places.push_back(i);
  }
  return out;
}

void Run::evaluate(Group& group) {
  for (const auto& slice : slices(group, /*unknown_velocity=*/true))
    scatter(group, slice.places, &Candidate::velocity, call(gather(group, slice.places, &Candidate::z), slice.sigma));
}

void Run::look_ahead(Group& group, int64_t strides) {
  evaluate(group);
  for (const auto& slice : slices(group, false)) {
    const Tensor z = gather(group, slice.places, &Candidate::z), first = gather(group, slice.places, &Candidate::velocity);
    const Tensor x0 = search::look_ahead([this](const Tensor& at, double sigma) { return call(at, sigma); }, z, first, slice.sigma, strides);
    scatter(group, slice.places, &Candidate::x0, x0);
  }
}

void Run::finish_ahead(Group& group) {
  evaluate(group);
  Group ahead = group;
  for (auto& c : ahead) c.ahead_z.clear(), c.ahead_velocity.clear();
  for (auto& c : group) {
    TORCH_CHECK(c.step == group.front().step, "finish_ahead: wanted one step for all");
    c.ahead_z.clear(), c.ahead_velocity.clear();
  }
  while (!ahead.empty() && ahead.front().step < steps()) {
    advance(ahead);
    if (ahead.front().step < steps()) evaluate(ahead);
    for (size_t i = 0; i < group.size(); ++i) {
      group[i].ahead_z.push_back(ahead[i].z);
      group[i].ahead_velocity.push_back(ahead[i].velocity);
      group[i].x0 = ahead[i].z;
    }
  }
}

void Run::advance(Group& group) {
  Group todo;
  std::vector<size_t> places;
  for (size_t i = 0; i < group.size(); ++i) {
    auto& c = group[i];
    if (c.ahead_z.empty()) {
      todo.push_back(c);
      places.push_back(i);
      continue;
    }
    c.z = c.ahead_z.front();
    c.velocity = c.ahead_velocity.front();
    c.sigma = sigma(++c.step);
    c.ahead_z.erase(c.ahead_z.begin());
    c.ahead_velocity.erase(c.ahead_velocity.begin());
  }
  evaluate(todo);
  const flow::VelocityFn counted = [this](const Tensor& at, double sigma) { return call(at, sigma); };
  for (const auto& slice : slices(todo, false)) {
    const Tensor z = gather(todo, slice.places, &Candidate::z), v = gather(todo, slice.places, &Candidate::velocity);
    const double next = sigma(slice.step + 1);
    scatter(todo, slice.places, &Candidate::z,
            problem_.sampler->step({.z = z, .velocity = v, .sigma = slice.sigma, .sigma_next = next, .evaluate = counted}));
    for (const size_t i : slice.places) {
      auto& c = todo[i];
      c.velocity = Tensor();
      c.sigma = next;
      ++c.step;
    }
  }
  for (size_t k = 0; k < places.size(); ++k) group[places[k]] = std::move(todo[k]);
}

void Run::advance_to(Group& group, int64_t step) {
  for (;;) {
    int64_t first = step;
    for (const auto& c : group) first = std::min(first, c.step);
    if (first == step) return;
    Group part;
    std::vector<size_t> places;
    for (size_t i = 0; i < group.size(); ++i)
      if (group[i].step == first) part.push_back(group[i]), places.push_back(i);
    advance(part);
    for (size_t k = 0; k < places.size(); ++k) group[places[k]] = std::move(part[k]);
  }
}

void Run::finish(Group& group, int64_t round) {
  advance_to(group, steps());
  for (auto& c : group) {
    if (c.id >= 0) c.parent = c.id;
    c.id = -1;
    c.kind = "final";
    c.x0 = c.z;
  }
  judge(group, round);
  for (const auto& c : group) add_finished(c);
}

void Run::sample(int64_t count) {
  const double each = calls_to_finish(0);
  expect(static_cast<double>(count) * each);
  const int64_t batch = options_.batch > 0 ? options_.batch : count;
  for (int64_t begin = 0; begin < count; begin += batch) {
    Group group;
    for (int64_t i = begin; i < std::min(count, begin + batch); ++i) group.push_back(start(static_cast<uint64_t>(i)));
    while (!group.empty() && !affords(static_cast<double>(group.size()) * each)) group.pop_back();
    if (group.empty()) return;
    while (group.front().step < steps()) {
      advance(group);
      if (begin == 0) set_lead(group.front());
    }
    finish(group);
  }
}

// ---- the end

void Run::keep_affordable(Group& group) const {
  while (group.size() > 1 && !affords(static_cast<double>(group.size()) * calls_to_finish(group.front().step))) group.pop_back();
}

void Run::add_finished(Candidate candidate) {
  trace_.candidates[static_cast<size_t>(candidate.id)].finished = true;
  finished_.push_back(std::move(candidate));
}

void Run::finish_lead() {
  if (!finished_.empty() || !lead_) return;
  try {
    Group group{*lead_};
    auto& c = group.front();
    const double known = c.velocity.defined() ? 1 : 0, left = std::floor(calls_left()) + known;
    if (left < calls_to_finish(c.step) && c.ahead_z.empty()) {  // fewer, longer Euler steps
      const int64_t count = static_cast<int64_t>(left);
      if (count < 1) return;
      const double from = c.sigma;
      for (int64_t i = 0; i < count; ++i) {
        const double at = from * static_cast<double>(count - i) / static_cast<double>(count),
                     next = from * static_cast<double>(count - i - 1) / static_cast<double>(count);
        c.sigma = at;
        evaluate(group);
        c.x0 = flow::predict_x0(c.z, c.velocity, at);
        lead_ = c;
        c.z = c.z + (next - at) * c.velocity;
        c.velocity = Tensor();
      }
      c.sigma = 0;
      c.step = steps();
    }
    finish(group);
  } catch (const SearchEnded&) {
  }
}

SearchResult Run::conclude(const std::string& reason) {
  SearchResult out;
  if (!finished_.empty()) {
    fuse(finished_);
    const auto& winner = finished_[order(finished_).front()];
    out.x0 = winner.z;
    out.finished = true;
    trace_.winner = winner.id;
    for (int64_t id = winner.id; id >= 0; id = trace_.candidates[static_cast<size_t>(id)].parent) trace_.path.insert(trace_.path.begin(), id);
    trace_.candidates[static_cast<size_t>(winner.id)].chosen = true;
  } else if (lead_) {
    const auto& c = *lead_;
    const auto& [known, spread, guess] = problem_.coordinates;
    const Tensor center = guess.defined() ? guess.expand_as(c.z) : known.defined() ? known.expand_as(c.z) : at::zeros_like(c.z);
    out.x0 = c.x0.defined() ? c.x0 : c.velocity.defined() ? flow::predict_x0(c.z, c.velocity, c.sigma) : center;
    trace_.winner = c.id;
    trace_.notes.push_back("ended before a candidate was finished: the result is an estimate");
  }
  trace_.nfe = nfe();
  trace_.seconds = seconds();
  trace_.ended = reason == "done" && !refused_.empty() ? refused_ : reason;
  out.candidates = finished_;
  out.trace = trace_;
  return out;
}

}  // namespace resflow::search
