#include "resflow/train/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

namespace resflow::train {

AdamW::AdamW(nn::Module& module, Options options) : options_(options) {
  at::NoGradGuard no_grad;
  for (const auto& tensor : module.named_parameters()) {
    names_.push_back(tensor.name);
    slots_.push_back(tensor.slot);
    average_.push_back(tensor.slot->detach().clone());
    m_.push_back(at::zeros_like(*tensor.slot));
    v_.push_back(at::zeros_like(*tensor.slot));
  }
}

void AdamW::step(int64_t step, double learning_rate, std::vector<Tensor>& gradients) {
  at::NoGradGuard no_grad;
  const auto n = static_cast<double>(step);
  const double correction1 = 1 - std::pow(options_.beta1, n), correction2 = 1 - std::pow(options_.beta2, n);
  const double keep = std::min(options_.ema, (1 + n) / (10 + n));
  std::vector<Tensor> slots = parameters();
  at::_foreach_lerp_(m_, gradients, 1 - options_.beta1);
  at::_foreach_mul_(v_, options_.beta2);
  at::_foreach_addcmul_(v_, gradients, gradients, 1 - options_.beta2);
  if (options_.weight_decay > 0) at::_foreach_mul_(slots, 1 - learning_rate * options_.weight_decay);
  auto scale = at::_foreach_div(v_, correction2);
  at::_foreach_sqrt_(scale);
  at::_foreach_add_(scale, options_.epsilon);
  at::_foreach_addcdiv_(slots, m_, scale, -learning_rate / correction1);
  at::_foreach_lerp_(average_, slots, 1 - keep);
}

std::vector<std::pair<std::string, Tensor>> AdamW::state() const {
  std::vector<std::pair<std::string, Tensor>> out;
  for (size_t i = 0; i < names_.size(); ++i) {
    out.emplace_back("model." + names_[i], slots_[i]->detach());
    out.emplace_back("ema." + names_[i], average_[i]);
    out.emplace_back("adam.m." + names_[i], m_[i]);
    out.emplace_back("adam.v." + names_[i], v_[i]);
  }
  return out;
}

std::vector<Tensor> AdamW::parameters() const {
  std::vector<Tensor> out;
  for (const Tensor* slot : slots_) out.push_back(*slot);
  return out;
}

void AdamW::swap_average() {
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Tensor now = slots_[i]->detach().clone();
    slots_[i]->copy_(average_[i]);
    average_[i].copy_(now);
  }
}

double clip_gradients(std::vector<Tensor>& gradients, double max_norm) {
  if (gradients.empty()) return 0;
  const double norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients, 2))).item<double>();
  if (max_norm > 0 && norm > max_norm) at::_foreach_mul_(gradients, max_norm / norm);
  return norm;
}

}  // namespace resflow::train
