// Prodigy (Mishchenko and Defazio 2024, arXiv 2306.06101): AdamW that finds the size of its steps, d, by itself; the learning rate is a factor of it,
// 1 as a rule. As the authors' package `prodigyopt` computes it with decoupled weight decay, use_bias_correction and safeguard_warmup, which is what
// OminiControl trains with. With the weights' moving average, as AdamW here.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "resflow/nn/module.h"

namespace resflow::train {

class Prodigy {
 public:
  struct Options {
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
    double d0 = 1e-6;    // the first d: far too small
    double ema = 0.999;  // as AdamW's
  };
  Prodigy(nn::Module& module, Options options);

  // step counts from 1. learning_rate: of d; 0 changes no weight. gradients in the order of named_parameters(); consumed.
  void step(int64_t step, double learning_rate, std::vector<Tensor>& gradients);

  // "model.NAME", "ema.NAME", "prodigy.m.NAME", "prodigy.v.NAME", "prodigy.s.NAME", "prodigy.start.NAME" and "prodigy.d": double [3], d, the largest
  // d so far and the numerator. The tensors share memory with the optimiser.
  std::vector<std::pair<std::string, Tensor>> state() const;
  std::vector<Tensor> parameters() const;

  // Puts the moving average in the module's place and back.
  void swap_average();
  // What the learning rate is multiplied by.
  double scale() const;

 private:
  // One entry a parameter.
  std::vector<std::string> names_;
  std::vector<Tensor*> slots_;
  std::vector<Tensor> average_, m_, v_;
  std::vector<Tensor> s_, start_;  // weighted sum of the gradients; the weights that training began with
  Tensor d_;                       // double [3]
  Options options_;
};

}  // namespace resflow::train
