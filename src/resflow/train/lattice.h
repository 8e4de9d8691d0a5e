// What a model leaves at the same places of every 16-px cell: the fixed fine patterns that a feature loss is pleased by, and cannot tell
// from true texture.
#pragma once

#include "resflow/core/tensor.h"

namespace resflow::train {

// The pattern of each picture, in units of the clean picture's local detail; differentiable. Three parts, each of mean 0 where nothing repeats:
// the mean error at each place of a cell, cells of even and odd rows and columns apart (or the pattern would alternate); how unevenly
// detail is spread over a cell's columns and rows; and how unevenly the steps between neighbours are, less the slope around them: the outlines of
// cells that bend slightly at their borders. image, clean [B, 3, H, W], 0..1; H, W multiples of 32. -> [B, kLatticeSize]
Tensor lattice_pattern(const Tensor& image, const Tensor& clean);

inline constexpr int64_t kLatticeCell = 16, kLatticeErrors = 3 * 4 * kLatticeCell * kLatticeCell, kLatticeSize = kLatticeErrors + 4 * kLatticeCell;

// A running mean of patterns, and the loss drawn from it: how far each picture's pattern goes in the remembered direction, squared. In the
// mean that is the square of what repeats, and next to nothing of what a single picture shows by chance. Never below 0 and 0 where the pattern is
// gone, so nothing pays without end (patterns of opposite signs in one batch) and nothing is pushed on after it has turned (a product with the mean
// is, for as long as the memory lags behind).
class LatticeMemory {
 public:
  static constexpr double kDecay = 0.98;

  LatticeMemory();
  // patterns [B, kLatticeSize] -> scalar, >= 0: mean squared error pattern + mean squared unevenness of detail and of steps, as far as they lie along
  // the running mean
  Tensor loss(const Tensor& patterns) const;
  // The same measure of the running mean itself, >= 0.
  double size() const;
  // pattern [kLatticeSize]: the mean over the whole batch.
  void absorb(const Tensor& pattern);

  Tensor mean;     // [kLatticeSize], float, CPU; with `batches` the state that a checkpoint keeps
  Tensor batches;  // scalar: how many it has seen
};

}  // namespace resflow::train
