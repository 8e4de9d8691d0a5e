#include "resflow/nn/linear.h"

#include <ATen/ATen.h>

#include <cmath>

#include "resflow/nn/init.h"

namespace resflow::nn {

Linear::Linear(Module& parent, const std::string& name, int64_t in, int64_t out, Options options)
    : Module(parent, name), in_(in), out_(out), options_(options) {
  declare("weight", weight, {out, in}, &quantised);
  if (options.bias) declare("bias", bias, {out});
  if (options.condition_rank > 0) {
    declare("condition.down", condition_down, {options.condition_rank, in});
    declare("condition.up", condition_up, {out, options.condition_rank});
  }
}

Tensor Linear::forward(const Tensor& x, Branch branch) const {
  Tensor y = at::linear(x, dense_weight(), bias);
  if (branch == Branch::condition && condition_up.defined()) y = y + at::linear(at::linear(x, condition_down), condition_up);
  for (const auto& delta : loras) {
    if (delta.tokens == LoraTokens::condition && branch != Branch::condition) continue;
    const auto like_x = [&](const Tensor& t) { return t.defined() ? t.to(x.device(), x.scalar_type()) : t; };
    y = y + delta.scale * at::linear(at::linear(x, like_x(delta.down)), like_x(delta.up), like_x(delta.bias));
  }
  return y;
}

void Linear::replace_weight(Tensor replacement) {
  check_shape(replacement, std::to_string(out_) + " in", "a linear's new weight");
  in_ = replacement.size(1);
  weight = std::move(replacement);
  redeclare("weight", {out_, in_});
}

void Linear::initialise_own(const Stream& stream) {
  weight = options_.zero_init ? at::zeros({out_, in_}) : uniform_fan_in(stream.child("weight"), {out_, in_});
  if (options_.bias) bias = at::zeros({out_});
  if (options_.condition_rank > 0) {
    condition_down = uniform_fan_in(stream.child("down"), {options_.condition_rank, in_});
    condition_up = at::zeros({out_, options_.condition_rank});
  }
}

}  // namespace resflow::nn
