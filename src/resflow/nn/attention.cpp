#include "resflow/nn/attention.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

namespace resflow::nn {

namespace {

// cuDNN's attention, which libtorch 2.11 prefers on an H200, cannot run its gradient for FLUX's blocks ("mha_graph.execute ... false"): whoever wants
// one has flash attention instead, and so has the whole process from then on.
void leave_out_cudnn() {
  static const bool done = (at::globalContext().setSDPUseCuDNN(false), true);
  static_cast<void>(done);
}

}  // namespace

Tensor split_heads(const Tensor& x, int64_t heads) { return x.unflatten(-1, {heads, -1}).transpose(1, 2); }
Tensor join_heads(const Tensor& x) { return x.transpose(1, 2).flatten(2); }

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask, std::optional<double> scale) {
  if (q.is_cuda() && at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad())) leave_out_cudnn();
  return at::scaled_dot_product_attention(q, k, v, mask.defined() ? std::optional<Tensor>(mask.to(q.scalar_type())) : std::nullopt, /*dropout_p=*/0,
                                          /*is_causal=*/false, scale);
}

}  // namespace resflow::nn
