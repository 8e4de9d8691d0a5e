// Feynman-Kac steering (sequential Monte Carlo; Singhal et al., "FK steering"): N particles follow the flow's SDE; at the chosen steps each is
// weighted by exp(temperature * potential) of its clean estimate's reward, and where the effective number of particles falls below
// a share of N they are resampled (multinomial). In the end a particle's whole weight is exp(temperature * final reward), whatever the potential.
//
// The reward is the fused score within the particles (--fusion sum: the rewards as they are). NFE: N T; the estimates cost nothing, since
// the velocity is the step's own.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "resflow/search/sde.h"
#include "resflow/search/strategy.h"

namespace resflow::search {
namespace {

struct Course {
  double log_weight = 0, spent = 0;  // since the last resampling; of all potentials along the ancestry
  double last = 0, highest = -std::numeric_limits<double>::infinity(), sum = 0;

  double potential(const std::string& kind, double reward) {
    const double previous = last;
    last = reward;
    highest = std::max(highest, reward);
    sum += reward;
    return kind == "diff" ? reward - previous : kind == "max" ? highest : kind == "add" ? sum : reward;
  }
};

std::vector<double> normalised(const std::vector<Course>& courses) {
  double top = -std::numeric_limits<double>::infinity(), total = 0;
  for (const auto& c : courses) top = std::max(top, c.log_weight);
  std::vector<double> out;
  for (const auto& c : courses) total += out.emplace_back(std::exp(c.log_weight - top));
  for (double& w : out) w /= total;
  return out;
}

class Smc final : public Strategy {
 public:
  void search(Run& run) const override {
    const auto& o = run.options();
    const auto rounds = run.round_steps();
    const auto each = static_cast<double>(run.steps());
    int64_t count = o.candidates;
    while (count > 1 && !run.affords(static_cast<double>(count) * each)) --count;
    run.expect(static_cast<double>(count) * each);
    Group particles;
    for (int64_t i = 0; i < count; ++i) particles.push_back(run.start(static_cast<uint64_t>(i)));
    std::vector<Course> courses(particles.size());
    Stream lot(static_cast<uint64_t>(o.seed), "search.resample");
    int64_t round = 0;
    for (int64_t step = 0; step < run.steps(); ++step) {
      run.evaluate(particles);
      if (std::find(rounds.begin(), rounds.end(), step) != rounds.end()) contest(run, particles, courses, lot, ++round);
      run.set_lead(particles.front());
      diffuse(run, particles);
    }
    run.finish(particles, round + 1);
    for (size_t i = 0; i < particles.size(); ++i) courses[i].log_weight += o.temperature * particles[i].fused - courses[i].spent;
    const auto weights = normalised(courses);
    for (size_t i = 0; i < particles.size(); ++i) run.weigh(particles[i].id, weights[i]);
  }

 private:
  static void diffuse(Run& run, Group& particles) {
    std::vector<Tensor> zs, velocities, noises;
    for (const auto& c : particles) {
      zs.push_back(c.z);
      velocities.push_back(c.velocity);
      noises.push_back(run.fresh_noise());
    }
    const double sigma = particles.front().sigma, next = run.sigma(particles.front().step + 1);
    const Tensor moved = sde_step(run.problem().coordinates, at::cat(zs), at::cat(velocities), at::cat(noises), sigma, next,
                                  square_diffusion(sigma, run.options().diffusion));
    for (size_t i = 0; i < particles.size(); ++i) {
      auto& c = particles[i];
      c.z = moved.narrow(0, static_cast<int64_t>(i), 1);
      c.velocity = Tensor();
      c.sigma = next;
      ++c.step;
    }
  }

  static void contest(Run& run, Group& particles, std::vector<Course>& courses, Stream& lot, int64_t round) {
    const auto& o = run.options();
    for (auto& c : particles) {
      if (c.id >= 0) c.parent = c.id;
      c.id = -1;
      c.kind = "particle";
    }
    run.look_ahead(particles, 0);
    run.judge(particles, round);
    for (size_t i = 0; i < particles.size(); ++i) {
      const double log_potential = o.temperature * courses[i].potential(o.potential, particles[i].fused);
      courses[i].log_weight += log_potential;
      courses[i].spent += log_potential;
    }
    const auto weights = normalised(courses);
    double square = 0;
    for (size_t i = 0; i < particles.size(); ++i) {
      square += weights[i] * weights[i];
      run.weigh(particles[i].id, weights[i]);
    }
    const auto n = static_cast<double>(particles.size());
    const bool resample = 1 / square < o.resample_below * n;
    Group drawn;
    std::vector<Course> courses_drawn;
    for (size_t k = 0; k < particles.size(); ++k) {
      size_t i = k;
      if (resample) {
        double at = lot.uniform();
        for (i = 0; i + 1 < weights.size() && at >= weights[i]; ++i) at -= weights[i];
      }
      drawn.push_back(particles[i]);
      courses_drawn.push_back(courses[i]);
      if (resample) courses_drawn.back().log_weight = 0;
      run.trace().candidates[static_cast<size_t>(particles[i].id)].chosen = true;
    }
    run.note_round(particles, round, 0);
    particles = std::move(drawn);
    courses = std::move(courses_drawn);
  }
};

}  // namespace

Entry<Strategy> strategy_smc() { return entry<Strategy, Smc>("smc", "Feynman-Kac steering: particles weighted and resampled by reward"); }

}  // namespace resflow::search
