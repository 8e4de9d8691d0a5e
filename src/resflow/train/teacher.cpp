#include "resflow/train/teacher.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "resflow/weights/public_weights.h"
#ifndef RESFLOW_TRAIN_ONLY
#include "resflow/models/esrgan/file.h"
#endif

namespace resflow::train {
namespace {

// ncnn's files and wheels take libraries that the train-only build does without.
weights::TensorFile opened(const std::string& path) {
  const std::string file = weights::pulled_or_path(path);
#ifdef RESFLOW_TRAIN_ONLY
  return weights::TensorFile::open(file);
#else
  return models::open_esrgan(file);
#endif
}

}  // namespace

Teacher::Teacher(const std::string& path, c10::Device device, c10::ScalarType dtype)
    : network_(models::load_remover_network(opened(path), device, dtype)) {
  if (kMargin % scale() != 0 || network_->multiple() != 1)
    throw_user_error({.where = "train",
                      .problem = path + ": this network cannot teach",
                      .wanted = "an enlarger of Real-ESRGAN's",
                      .got = network_->architecture()});
}

Batch Teacher::teach(Batch batch) const {
  if (!batch.small.defined()) return batch;
  at::NoGradGuard no_grad;
  const int64_t margin = (batch.small.size(2) * scale() - batch.clean.size(2)) / 2;
  // As many pictures each time: kernels for a GPU are chosen anew for every number of them, which takes longer than running them.
  const int64_t count = batch.small.size(0), missing = batch.small.is_cpu() ? 0 : batch.clean.size(0) - count;
  const Tensor shown = missing > 0 ? at::cat({batch.small, batch.small.narrow(0, 0, 1).expand({missing, -1, -1, -1})}) : batch.small;
  const Tensor made = network_->forward(shown).narrow(0, 0, count).clamp(0, 1);  // [n, 3, H + 2 margin, W + 2 margin]
  const Tensor inner = made.narrow(2, margin, batch.clean.size(2)).narrow(3, margin, batch.clean.size(3));
  if (!batch.taught.defined()) batch.known = at::zeros({batch.clean.size(0)}, batch.clean.options().dtype(at::kBool));
  batch.taught = (batch.taught.defined() ? batch.taught : batch.clean).index_copy(0, batch.places, inner);
  batch.known = batch.known.index_fill(0, batch.places, true);
  return batch;
}

}  // namespace resflow::train
