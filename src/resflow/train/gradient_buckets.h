// Gradients averaged over the ranks: in buckets, each on its way as soon as the backward pass has filled it, so that the way takes little time of its
// own (Li et al. 2020, "PyTorch Distributed").
#pragma once

#include <functional>
#include <vector>

#include "resflow/core/tensor.h"
#include "resflow/train/differentiate.h"
#include "resflow/train/ranks.h"

namespace resflow::train {

class GradientBuckets {
 public:
  // megabytes: at least one parameter a bucket. All parameters are float32 on ranks.device().
  GradientBuckets(Ranks& ranks, const std::vector<Tensor>& parameters, double megabytes);

  // Takes each parameter's gradient of this rank as the backward pass finds it, once a step; empty for one rank.
  GradientSink sink();
  // Takes those that have not been put, waits, and replaces all by their mean over the ranks: views that are good until the next step's first.
  void finish(std::vector<Tensor>& gradients);

 private:
  void put(size_t parameter, const Tensor& gradient);

  struct Place {
    size_t bucket = 0;
    Tensor view;  // into the bucket, of the parameter's shape
    bool filled = false;
  };
  struct Bucket {
    Tensor flat;
    size_t parameters = 0, filled = 0;
    std::function<void()> wait;  // set once it is on its way
  };
  Ranks& ranks_;
  std::vector<Place> places_;  // one a parameter
  std::vector<Bucket> buckets_;
  size_t next_ = 0;  // the first bucket that is not on its way: they go in the same order on every rank
};

}  // namespace resflow::train
