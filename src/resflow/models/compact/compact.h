// The compact model as it is shipped: remover and flow in one file, with their shape and their defaults.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <memory>

#include "resflow/models/compact/flow.h"

namespace resflow::models {

// How the weights are best used; in the file's metadata ("defaults"), chosen on the validation images.
struct CompactDefaults {
  int64_t steps = 4;
  double sigma_s = 0.05;
  int64_t search_steps = 6;
  double search_sigma_s = 0.3;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("steps", o.steps, "Sampler steps", Range{1, 1000});
    visit("sigma_s", o.sigma_s, "Start noise, 0..1 pixel units", Range{0, 10});
    visit("search_steps", o.search_steps, "Sampler steps under a search", Range{1, 1000});
    visit("search_sigma_s", o.search_sigma_s, "Start noise under a search: room for the candidates to differ", Range{0, 10});
  }
};

class CompactModel {
 public:
  // Throws UserError: missing, damaged, or not a compact model.
  static std::unique_ptr<CompactModel> load(const std::filesystem::path& path, c10::Device device, c10::ScalarType dtype);

  CompactModel(const CompactConfig& config, const CompactDefaults& defaults) : config(config), defaults(defaults), remover(config), flow(config) {}

  CompactConfig config;
  CompactDefaults defaults;
  CompactRemover remover;
  CompactFlow flow;
  std::string fingerprint;  // of the weights' bytes, for the manifest
};

}  // namespace resflow::models
