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

#include "resflow/core/rng.h"
#include "resflow/train/options.h"
#include "resflow/weights/safetensors.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::train {

// Pixels degraded beyond each side of a crop, so that a crop's border looks like the inside of a photograph.
inline constexpr int64_t kMargin = 16;

// What a packed picture's company is called: its name and one of these.
inline constexpr std::string_view kDegraded = "/degraded", kTaught = "/taught";

struct Pair {
  Tensor clean;     // [3, H, W] float, 0..1
  Tensor degraded;  // the same size: the low-quality image enlarged with an antialiased bicubic (a = -0.5)
  Tensor taught;    // what a shard says that a teacher makes of it, or undefined
  Tensor small;     // the low-quality image itself, with its margin: what a teacher of this run is shown, or undefined. [3, h, w]
  Tensor words;     // what is wrong with it, int64 [models::kFlaws] (models::word_numbers); nothing is said of a picture degraded elsewhere
};

// A picture of a shard: views, uint8 [3, H, W]. The last two are undefined where the shard holds the clean picture alone.
struct Source {
  Tensor clean, degraded, taught;
};

class Dataset {
 public:
  // Shards: safetensors files of uint8 [3, H, W] tensors, each a clean picture, degraded anew for every pair. One that has company under its
  // name + kDegraded ([3, h, w], H = s h, W = s w) and name + kTaught ([3, H, W], what a teacher makes of that) is taken with these: the
  // teacher's picture follows from the degraded one, so a student learns it with far less noise than what it can only guess.
  // Throws UserError where a shard has none, all are smaller than a crop, or company does not fit.
  // teacher_scale: of the pictures that a teacher of this run is shown, 0 for none.
  explicit Dataset(const TrainOptions& options, int64_t teacher_scale = 0);
  Pair pair(int64_t index) const;
  size_t images() const { return images_.size(); }

 private:
  Pair taught_pair(const Source& source, Stream& draw) const;
  Pair degraded_pair(const Source& source, Stream& draw) const;

  TrainOptions options_;
  int64_t teacher_scale_;
  std::vector<Source> images_;
};

// Fixed pairs for validation: centre crops of every image of a shard, as it was packed with its company or else degraded by the recipes in turn,
// scale 4.
std::vector<Pair> validation_pairs(const TrainOptions& options);

// One of the eight symmetries of the square, turn 0..7, 0 for none; not a copy where none is needed. [..., H, W]
Tensor turned(Tensor pictures, int64_t turn);

// The low-quality image at the target's size. lq [3, h, w] -> [3, height, width]
Tensor enlarge(const Tensor& lq, int64_t height, int64_t width);

struct Batch {
  Tensor clean, degraded;  // [B, 3, H, W]
  Tensor taught;           // the same size, the clean picture where there is none; undefined where no sample has one
  Tensor known;            // bool [B], whether there is one; undefined like `taught`
  Tensor small;            // [n, 3, h, w], of the samples for the teacher; undefined: none
  Tensor places;           // int64 [n], which those are
  Tensor words;            // int64 [B, models::kFlaws]

  // What is learnt: clean + share (taught - clean).
  Tensor aim(double share) const { return taught.defined() ? clean.lerp(taught, share) : clean; }
  Batch part(int64_t from, int64_t to) const;  // samples [from, to), after the teacher's work
};

// Which samples of every batch of `batch` are prepared: [from, to), all of them but where other ranks have the rest.
struct BatchPart {
  int64_t batch, from, to;
};

// Prepares batches first, first + 1, ... ahead of time on `loaders` threads; next() gives them in order. pinned: in memory that a GPU reads.
class BatchLoader {
 public:
  BatchLoader(const Dataset& dataset, const BatchPart& part, int64_t first_batch, int64_t loaders, bool pinned);
  ~BatchLoader();
  Batch next();
  int64_t ahead() const { return ahead_; }           // most batches that lie ready
  double waited_seconds() const { return waited_; }  // time the trainer spent waiting for data

 private:
  void work(std::stop_token stop);
  const Dataset& dataset_;
  BatchPart part_;
  int64_t next_to_make_, next_to_give_, ahead_;
  bool pinned_;
  double waited_ = 0;
  std::map<int64_t, Batch> ready_;
  std::exception_ptr failure_;
  std::mutex mutex_;
  std::condition_variable_any made_, wanted_;
  std::vector<std::jthread> threads_;
};

}  // namespace resflow::train
