#include "resflow/train/gradient_buckets.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace resflow::train {

GradientBuckets::GradientBuckets(Ranks& ranks, const std::vector<Tensor>& parameters, double megabytes) : ranks_(ranks) {
  if (ranks.count() == 1) return;
  const auto room = static_cast<int64_t>(megabytes * 1e6 / sizeof(float));
  std::vector<std::vector<size_t>> members;
  int64_t taken = 0;
  for (size_t i = parameters.size(); i-- > 0;) {  // last first: so a backward pass finds them
    const int64_t size = parameters[i].numel();
    if (members.empty() || taken + size > room) {
      members.emplace_back();
      taken = 0;
    }
    members.back().push_back(i);
    taken += size;
  }
  places_.resize(parameters.size());
  for (const auto& bucket : members) {
    int64_t size = 0;
    for (const size_t i : bucket) size += parameters[i].numel();
    const Tensor flat = at::empty({size}, parameters[bucket.front()].options().requires_grad(false));
    int64_t from = 0;
    for (const size_t i : bucket) {
      places_[i] = {.bucket = buckets_.size(), .view = flat.narrow(0, from, parameters[i].numel()).view(parameters[i].sizes())};
      from += parameters[i].numel();
    }
    buckets_.push_back({.flat = flat, .parameters = bucket.size(), .filled = 0, .wait = {}});
  }
}

GradientSink GradientBuckets::sink() {
  if (buckets_.empty()) return {};
  return [this](size_t parameter, const Tensor& gradient) { put(parameter, gradient); };
}

void GradientBuckets::put(size_t parameter, const Tensor& gradient) {
  at::NoGradGuard no_grad;
  Place& place = places_[parameter];
  TORCH_CHECK(!place.filled, "gradient ", parameter, " is put twice");
  place.filled = true;
  place.view.copy_(gradient);
  ++buckets_[place.bucket].filled;
  for (; next_ < buckets_.size() && buckets_[next_].filled == buckets_[next_].parameters; ++next_)
    buckets_[next_].wait = ranks_.start_sum(buckets_[next_].flat);
}

void GradientBuckets::finish(std::vector<Tensor>& gradients) {
  if (buckets_.empty()) return;
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < places_.size(); ++i)
    if (!places_[i].filled) put(i, gradients[i]);
  for (Bucket& bucket : buckets_) {
    bucket.wait();
    bucket.flat.div_(static_cast<double>(ranks_.count()));
    bucket.wait = {};
    bucket.filled = 0;
  }
  for (size_t i = 0; i < places_.size(); ++i) {
    gradients[i] = places_[i].view;
    places_[i].filled = false;
  }
  next_ = 0;
}

}  // namespace resflow::train
