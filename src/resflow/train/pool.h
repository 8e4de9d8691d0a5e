// Samples that serve several steps. A teacher's picture can cost more than the step that learns it: so each step adds a few new samples to a pool
// and learns from what it draws there, turned anew.
#pragma once

#include "resflow/train/dataset.h"
#include "resflow/train/options.h"

namespace resflow::train {

class Pool {
 public:
  // Of options: batch (samples a step), reuse (steps that a sample serves, on average) and seed.
  explicit Pool(const TrainOptions& options);

  // New samples a step: batch / reuse.
  int64_t fresh() const { return fresh_; }
  // The number of the first of the batches of new samples that are in the pool when step `step` (from 0) is drawn; the last one has the step's own
  // number. A resumed run adds them all, and draws what an unbroken one would.
  int64_t first_batch(int64_t step) const;
  // The batch of new samples with the next number, after the teacher's work; the oldest makes room for it.
  void add(const Batch& fresh, int64_t number);
  // `batch` samples of those that are there, with `taught` and `known`.
  Batch draw(int64_t step) const;

 private:
  int64_t batch_, fresh_, slots_;
  uint64_t seed_;
  Batch held_;  // slots_ batches of new samples, one after the other
};

}  // namespace resflow::train
