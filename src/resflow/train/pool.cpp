#include "resflow/train/pool.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace resflow::train {
namespace {

constexpr int64_t kBatches = 8;  // of options.batch that the pool holds: a step's samples seldom meet again

}  // namespace

Pool::Pool(const TrainOptions& options)
    : batch_(options.batch), fresh_(options.batch / options.reuse), slots_(kBatches * options.reuse), seed_(static_cast<uint64_t>(options.seed)) {}

int64_t Pool::first_batch(int64_t step) const { return std::max<int64_t>(0, step - slots_ + 1); }

void Pool::add(const Batch& fresh, int64_t number) {
  const Tensor taught = fresh.taught.defined() ? fresh.taught : fresh.clean;
  const Tensor known = fresh.known.defined() ? fresh.known : at::zeros({fresh_}, fresh.clean.options().dtype(at::kBool));
  const auto keep = [&](Tensor& held, const Tensor& added) {
    if (!held.defined()) {
      auto shape = added.sizes().vec();
      shape[0] *= slots_;
      held = at::empty(shape, added.options());
    }
    held.narrow(0, number % slots_ * fresh_, fresh_).copy_(added);
  };
  keep(held_.clean, fresh.clean);
  keep(held_.degraded, fresh.degraded);
  keep(held_.taught, taught);
  keep(held_.known, known);
  keep(held_.words, fresh.words);
}

Batch Pool::draw(int64_t step) const {
  Stream draw(seed_, "train.pool", static_cast<uint64_t>(step));
  const int64_t turn = draw.integer(0, 7), oldest = first_batch(step);
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < batch_; ++i) {
    const int64_t number = draw.integer(oldest, step), place = draw.integer(0, fresh_ - 1);
    chosen.push_back(number % slots_ * fresh_ + place);
  }
  const Tensor places = at::tensor(chosen, at::kLong).to(held_.clean.device());
  const auto pick = [&](const Tensor& held) { return held.index_select(0, places); };
  return {.clean = turned(pick(held_.clean), turn).contiguous(),
          .degraded = turned(pick(held_.degraded), turn).contiguous(),
          .taught = turned(pick(held_.taught), turn).contiguous(),
          .known = pick(held_.known),
          .small = {},
          .places = {},
          .words = pick(held_.words)};
}

}  // namespace resflow::train
