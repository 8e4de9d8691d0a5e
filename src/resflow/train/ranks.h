// Several processes ("ranks") that train one model, each on its share of every batch, as torchrun starts them. They hold the same weights all along:
// gradients are averaged, and whatever the course of the training hangs on is the first rank's or the mean. For a process alone all this does
// nothing.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "resflow/core/tensor.h"
#include "resflow/train/options.h"
#include "resflow/train/rank_place.h"

namespace resflow::train {

// Every rank calls the same functions in the same order. Each throws UserError where another rank is gone (at once when its process has ended) or
// does not come within `ranks.timeout`: then the run is over for all.
class Ranks {
 public:
  // Meets the others. Throws UserError where they do not come, where options that must agree differ, or where the backend is not in this build.
  explicit Ranks(const TrainOptions& options);
  // One rank, whatever torchrun says.
  explicit Ranks(c10::Device device);
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  bool first() const { return place_.first(); }  // writes the log and the checkpoints, and validates
  int64_t count() const { return place_.count; }
  c10::Device device() const { return device_; }  // which this rank computes on: of several GPUs, one each
  std::string described() const;                  // "", or ", 2 ranks by gloo"

  struct Share {
    int64_t from, to;
    int64_t size() const { return to - from; }
  };
  // This rank's of `size` things. Throws UserError where they cannot be shared evenly; `what` is the option that says how many.
  Share share(const std::string& what, int64_t size) const;

  void meet();  // comes back when all are here
  bool any(bool here);
  double of_first(double here);
  void average(std::vector<double>& values);
  void average(Tensor& tensor);  // any device; of the same shape everywhere
  // Copies the first rank's tensors into the others', and gives its step.
  int64_t start_alike(const std::vector<Tensor>& state, int64_t step);

  // Starts to sum a contiguous tensor on device() in place. -> waits until it is done
  std::function<void()> start_sum(const Tensor& flat);

 private:
  void check_agreement(const TrainOptions& options);
  Tensor carried(const std::vector<double>& values) const;  // on a device that the backend takes

  struct Group;
  RankPlace place_;
  c10::Device device_;
  std::unique_ptr<Group> group_;  // none for one rank
};

}  // namespace resflow::train
