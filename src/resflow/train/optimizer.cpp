#include "resflow/train/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

namespace resflow::train {

AdamW::AdamW(nn::Module& module, Options options) : options_(options) {
  at::NoGradGuard no_grad;
  for (const auto& tensor : module.named_parameters())
    items_.push_back({tensor.name, tensor.slot, tensor.slot->detach().clone(), at::zeros_like(*tensor.slot), at::zeros_like(*tensor.slot)});
}

void AdamW::step(int64_t step, double learning_rate, std::vector<Tensor>& gradients) {
  at::NoGradGuard no_grad;
  const auto n = static_cast<double>(step);
  const double correction1 = 1 - std::pow(options_.beta1, n), correction2 = 1 - std::pow(options_.beta2, n);
  const double keep = std::min(options_.ema, (1 + n) / (10 + n));
  for (size_t i = 0; i < items_.size(); ++i) {
    Item& item = items_[i];
    const Tensor& gradient = gradients[i];
    item.m.lerp_(gradient, 1 - options_.beta1);
    item.v.mul_(options_.beta2).addcmul_(gradient, gradient, 1 - options_.beta2);
    if (options_.weight_decay > 0) item.slot->mul_(1 - learning_rate * options_.weight_decay);
    item.slot->addcdiv_(item.m, (item.v / correction2).sqrt_().add_(options_.epsilon), -learning_rate / correction1);
    item.average.lerp_(*item.slot, 1 - keep);
  }
}

std::vector<std::pair<std::string, Tensor>> AdamW::state() const {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const auto& item : items_) {
    out.emplace_back("model." + item.name, item.slot->detach());
    out.emplace_back("ema." + item.name, item.average);
    out.emplace_back("adam.m." + item.name, item.m);
    out.emplace_back("adam.v." + item.name, item.v);
  }
  return out;
}

std::vector<Tensor> AdamW::parameters() const {
  std::vector<Tensor> out;
  for (const auto& item : items_) out.push_back(*item.slot);
  return out;
}

void AdamW::swap_average() {
  at::NoGradGuard no_grad;
  for (auto& item : items_) {
    const Tensor now = item.slot->detach().clone();
    item.slot->copy_(item.average);
    item.average.copy_(now);
  }
}

double clip_gradients(std::vector<Tensor>& gradients, double max_norm) {
  double squares = 0;
  for (const auto& gradient : gradients) squares += gradient.square().sum().item<double>();
  const double norm = std::sqrt(squares);
  if (max_norm > 0 && norm > max_norm)
    for (auto& gradient : gradients) gradient.mul_(max_norm / norm);
  return norm;
}

}  // namespace resflow::train
