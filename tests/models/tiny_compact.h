// Small compact models for tests.
#pragma once

#include "models/random_weights.h"
#include "resflow/models/compact/compact.h"

namespace resflow::models {

// random: weights that do something everywhere; else training's own initial ones.
struct TinyCompact : CompactModel {
  explicit TinyCompact(const CompactConfig& config, bool random = true) : CompactModel(config, {}) {
    if (random) {
      randomise(remover, 1);
      randomise(flow, 2);
    } else {
      remover.initialise(Stream(1, "remover"));
      flow.initialise(Stream(1, "flow"));
    }
  }
  CompactCondition prepare(const Tensor& image) const { return flow.prepare(image, remover.forward(image)); }
};

// Three blocks: a first, a middle and a last one.
inline CompactConfig three_blocks() {
  return {.channels = 8,
          .remover_blocks = 1,
          .stem_blocks = 1,
          .head_blocks = 1,
          .width = 32,
          .heads = 2,
          .depth = 3,
          .mlp_ratio = 2,
          .condition_rank = 4,
          .radius = 1};
}

inline Tensor picture(const char* name, at::IntArrayRef shape) { return at::sigmoid(drawn(name, shape)); }
inline Tensor all(std::initializer_list<double> values) { return at::tensor(at::ArrayRef<double>(values), at::kFloat); }

}  // namespace resflow::models
