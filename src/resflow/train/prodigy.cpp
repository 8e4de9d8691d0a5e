#include "resflow/train/prodigy.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

namespace resflow::train {

Prodigy::Prodigy(nn::Module& module, Options options) : options_(options) {
  at::NoGradGuard no_grad;
  for (const auto& tensor : module.named_parameters()) {
    names_.push_back(tensor.name);
    slots_.push_back(tensor.slot);
    average_.push_back(tensor.slot->detach().clone());
    start_.push_back(tensor.slot->detach().clone());
    for (auto* list : {&m_, &v_, &s_}) list->push_back(at::zeros_like(*tensor.slot));
  }
  d_ = at::tensor({options_.d0, options_.d0, 0.0}, at::kDouble);
}

double Prodigy::scale() const { return d_.const_data_ptr<double>()[0]; }

void Prodigy::step(int64_t step, double learning_rate, std::vector<Tensor>& gradients) {
  at::NoGradGuard no_grad;
  const auto n = static_cast<double>(step);
  auto* const numbers = d_.data_ptr<double>();
  double &d = numbers[0], &largest = numbers[1], &numerator = numbers[2];
  const double beta3 = std::sqrt(options_.beta2), from_first = d / options_.d0;
  const double correction = std::sqrt(1 - std::pow(options_.beta2, n)) / (1 - std::pow(options_.beta1, n));
  const double rate = d * learning_rate * correction;  // of this step; the new d is the next one's
  std::vector<Tensor> slots = parameters();

  if (learning_rate > 0) {
    // How far the weights have gone against the gradients tells how far it is.
    const auto way = at::_foreach_mul(at::_foreach_sub(start_, slots), gradients);
    std::vector<Tensor> sums;
    for (const Tensor& each : way) sums.push_back(each.sum(at::kDouble));
    numerator = numerator * beta3 + from_first * rate * at::stack(sums).sum().item<double>();
    at::_foreach_mul_(m_, options_.beta1);
    at::_foreach_add_(m_, gradients, d * (1 - options_.beta1));
    at::_foreach_mul_(v_, options_.beta2);
    at::_foreach_addcmul_(v_, gradients, gradients, d * d * (1 - options_.beta2));
    at::_foreach_mul_(s_, beta3);
    at::_foreach_add_(s_, gradients, from_first * d);
    sums.clear();
    for (const Tensor& each : s_) sums.push_back(each.abs().sum(at::kDouble));
    const double denominator = at::stack(sums).sum().item<double>();
    if (denominator == 0) return;  // no gradient at all
    const double estimate = numerator / denominator;
    if (d == options_.d0) d = std::max(d, estimate);
    largest = std::max(largest, estimate);
    d = largest;

    auto scale = at::_foreach_sqrt(v_);
    at::_foreach_add_(scale, d * options_.epsilon);
    if (options_.weight_decay > 0) at::_foreach_mul_(slots, 1 - options_.weight_decay * rate);
    at::_foreach_addcdiv_(slots, m_, scale, -rate);
  }
  at::_foreach_lerp_(average_, slots, 1 - std::min(options_.ema, (1 + n) / (10 + n)));
}

std::vector<std::pair<std::string, Tensor>> Prodigy::state() const {
  std::vector<std::pair<std::string, Tensor>> out;
  for (size_t i = 0; i < names_.size(); ++i) {
    out.emplace_back("model." + names_[i], slots_[i]->detach());
    out.emplace_back("ema." + names_[i], average_[i]);
    out.emplace_back("prodigy.m." + names_[i], m_[i]);
    out.emplace_back("prodigy.v." + names_[i], v_[i]);
    out.emplace_back("prodigy.s." + names_[i], s_[i]);
    out.emplace_back("prodigy.start." + names_[i], start_[i]);
  }
  out.emplace_back("prodigy.d", d_);
  return out;
}

std::vector<Tensor> Prodigy::parameters() const {
  std::vector<Tensor> out;
  for (const Tensor* slot : slots_) out.push_back(*slot);
  return out;
}

void Prodigy::swap_average() {
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Tensor now = slots_[i]->detach().clone();
    slots_[i]->copy_(average_[i]);
    average_[i].copy_(now);
  }
}

}  // namespace resflow::train
