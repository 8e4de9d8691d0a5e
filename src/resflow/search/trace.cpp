#include "resflow/search/trace.h"

#include <cmath>

namespace resflow::search {
namespace {

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

Json Trace::to_json() const {
  Json judged = Json::array(), steps = Json::array();
  for (const auto& c : candidates) {
    Json scores = Json::object();
    for (size_t i = 0; i < c.scores.size(); ++i) scores[rewards[i]] = number(c.scores[i]);
    judged.push_back({{"id", c.id},
                      {"parent", c.parent},
                      {"kind", c.kind},
                      {"round", c.round},
                      {"step", c.step},
                      {"sigma", c.sigma},
                      {"rho", c.rho},
                      {"scores", scores},
                      {"fused", number(c.fused)},
                      {"rank", c.rank},
                      {"weight", number(c.weight)},
                      {"gated", c.gated},
                      {"chosen", c.chosen},
                      {"finished", c.finished},
                      {"nfe", c.nfe}});
    if (!c.parts.empty()) judged.back()["parts"] = c.parts;
  }
  for (const auto& r : rounds)
    steps.push_back({{"round", r.round}, {"step", r.step}, {"sigma", r.sigma}, {"rho", r.rho}, {"margin", number(r.margin)}, {"nfe", r.nfe}});
  return {{"format", "resflow-search-1"},
          {"options", options},
          {"rewards", rewards},
          {"nfe", nfe},
          {"plain_nfe", plain_nfe},
          {"ended", ended},
          {"winner", winner},
          {"path", path},
          {"rounds", steps},
          {"candidates", judged},
          {"notes", notes},
          {"seconds", seconds}};
}

}  // namespace resflow::search
