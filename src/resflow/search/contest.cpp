// The judging half of Run.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "resflow/search/run.h"

namespace resflow::search {
namespace {

// What the gates measure each candidate against: its parent, where that competes too; itself, where it is that parent.
std::vector<int64_t> measured_against(const Group& group) {
  std::map<int64_t, int64_t> places;  // of parents that compete
  for (size_t p = 0; p < group.size(); ++p)
    if (group[p].kind == "kept" && group[p].parent >= 0) places[group[p].parent] = static_cast<int64_t>(p);
  std::vector<int64_t> out;
  for (const auto& c : group) {
    const auto found = places.find(c.parent);
    out.push_back(found == places.end() ? -1 : found->second);
  }
  return out;
}

std::vector<std::vector<double>> by_judge(const Group& group, size_t judges) {
  std::vector<std::vector<double>> out(judges);
  for (size_t j = 0; j < judges; ++j)
    for (const auto& c : group) out[j].push_back(c.scores[j]);
  return out;
}

}  // namespace

void Run::judge(Group& group, int64_t round) {
  const auto most = options_.batch > 0 ? static_cast<size_t>(options_.batch) : std::max<size_t>(1, group.size());
  for (size_t begin = 0; begin < group.size(); begin += most) {
    const size_t end = std::min(group.size(), begin + most);
    std::vector<Tensor> parts;
    for (size_t i = begin; i < end; ++i) parts.push_back(group[i].x0);
    const Tensor x0 = parts.size() == 1 ? parts.front() : at::cat(parts), images = problem_.decode ? problem_.decode(x0) : x0;
    std::vector<std::vector<double>> scores;
    for (const auto& judge : problem_.judges) scores.push_back(rewards::score_images(judge, images));
    for (size_t i = begin; i < end; ++i) {
      auto& c = group[i];
      c.scores.clear();
      for (const auto& row : scores) c.scores.push_back(row[i - begin]);
      if (c.id < 0) {
        c.id = static_cast<int64_t>(trace_.candidates.size());
        trace_.candidates.push_back({.id = c.id, .parent = c.parent, .kind = c.kind});
      }
      auto& record = trace_.candidates[static_cast<size_t>(c.id)];
      record.round = round;
      record.step = c.step;
      record.sigma = c.sigma;
      record.rho = c.rho;
      record.scores = c.scores;
      record.nfe = nfe();
      record.chosen = false;
      if (problem_.on_candidate) problem_.on_candidate(record, images[static_cast<int64_t>(i - begin)]);
    }
  }
  for (size_t j = 0; j < problem_.judges.size(); ++j) {
    const auto silent = std::count_if(group.begin(), group.end(), [&](const Candidate& c) { return std::isnan(c.scores[j]); });
    if (silent > 0)
      trace_.notes.push_back(fmt::format("round {}: {} could not judge {} of {} candidates", round, problem_.judges[j].name, silent, group.size()));
  }
  fuse(group);
}

void Run::fuse(Group& group) {
  if (problem_.judges.empty() || group.empty()) return;
  const auto fused = rewards::fuse(by_judge(group, problem_.judges.size()), problem_.judges, fusion_, measured_against(group));
  const auto ranks = rewards::ranks(fused.score);
  for (size_t i = 0; i < group.size(); ++i) {
    auto& c = group[i];
    c.fused = fused.score[i];
    c.gated = fused.gated[i];
    auto& record = trace_.candidates[static_cast<size_t>(c.id)];
    record.fused = c.fused;
    record.rank = ranks[i];
    record.gated = c.gated;
  }
}

std::vector<size_t> Run::order(const Group& group) const {
  std::vector<size_t> out(group.size());
  std::iota(out.begin(), out.end(), size_t{0});
  std::stable_sort(out.begin(), out.end(), [&](size_t a, size_t b) {
    if (group[a].gated != group[b].gated) return !group[a].gated;
    return group[a].fused > group[b].fused;
  });
  return out;
}

Group Run::select(const Group& group, int64_t count, int64_t round) {
  const auto sorted = order(group);
  const auto keep = std::min(sorted.size(), static_cast<size_t>(std::max<int64_t>(1, count)));
  Group out;
  for (size_t k = 0; k < keep; ++k) {
    out.push_back(group[sorted[k]]);
    trace_.candidates[static_cast<size_t>(out.back().id)].chosen = true;
  }
  note_round(group, round, keep < sorted.size() ? group[sorted[keep - 1]].fused - group[sorted[keep]].fused : 0);
  return out;
}

void Run::note_round(const Group& group, int64_t round, double margin) {
  double rho = 0;
  for (const auto& c : group) rho = std::max(rho, c.rho);
  const auto step = group.front().step;
  trace_.rounds.push_back({.round = round, .step = step, .sigma = sigma(step), .rho = rho, .nfe = nfe(), .margin = margin});
}

void Run::weigh(int64_t id, double weight) {
  trace_.candidates[static_cast<size_t>(id)].weight = weight;
  for (auto& c : finished_)
    if (c.id == id) c.weight = weight;
}

bool Run::beats(const Candidate& challenger, const Candidate& holder) {
  const std::vector<int64_t> against = {1, 1};
  const Group pair = {challenger, holder};
  const auto fused = rewards::fuse(by_judge(pair, problem_.judges.size()), problem_.judges, fusion_, against);
  return !fused.gated[0] && fused.score[0] > fused.score[1];
}

}  // namespace resflow::search
