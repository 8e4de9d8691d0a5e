// Training pairs from packed images: crop, flip, degrade, enlarge. A pair is a function of (seed, index) alone, so a resumed run sees
// the very pairs an unbroken one would.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "resflow/train/options.h"
#include "resflow/weights/safetensors.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::train {

struct Pair {
  Tensor clean;     // [3, H, W] float, 0..1
  Tensor degraded;  // the same size: the low-quality image enlarged with an antialiased bicubic (a = -0.5)
};

class Dataset {
 public:
  // Shards: safetensors files of uint8 [3, H, W] tensors. Throws UserError where a shard has none, or all are smaller than a crop.
  explicit Dataset(const TrainOptions& options);
  Pair pair(int64_t index) const;
  size_t images() const { return images_.size(); }

 private:
  TrainOptions options_;
  std::vector<Tensor> images_;  // views of the shards
};

// Fixed pairs for validation: centre crops of every image of a shard, recipes in turn, scale 4.
std::vector<Pair> validation_pairs(const TrainOptions& options);

// The low-quality image at the target's size. lq [3, h, w] -> [3, height, width]
Tensor enlarge(const Tensor& lq, int64_t height, int64_t width);

struct Batch {
  Tensor clean, degraded;  // [B, 3, H, W]
};

// Prepares batches first, first + 1, ... ahead of time on `loaders` threads; next() gives them in order.
class BatchLoader {
 public:
  BatchLoader(const Dataset& dataset, int64_t batch, int64_t first_batch, int64_t loaders);
  ~BatchLoader();
  Batch next();
  double waited_seconds() const { return waited_; }  // time the trainer spent waiting for data

 private:
  void work(std::stop_token stop);
  const Dataset& dataset_;
  int64_t batch_, next_to_make_, next_to_give_;
  double waited_ = 0;
  std::map<int64_t, Batch> ready_;
  std::exception_ptr failure_;
  std::mutex mutex_;
  std::condition_variable_any made_, wanted_;
  std::vector<std::jthread> threads_;
};

}  // namespace resflow::train
