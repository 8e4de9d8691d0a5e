// AdamW (Loshchilov and Hutter 2019) with the weights' moving average, over a module's named parameters: state has names, so a
// checkpoint is a plain list of tensors.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "resflow/nn/module.h"

namespace resflow::train {

class AdamW {
 public:
  struct Options {
    double beta1 = 0.9, beta2 = 0.99, epsilon = 1e-8, weight_decay = 0;
    double ema = 0.999;  // decay of the moving average; early steps use (1 + step) / (10 + step) where that is smaller
  };
  AdamW(nn::Module& module, Options options);

  // step counts from 1. gradients in the order of named_parameters(); consumed.
  void step(int64_t step, double learning_rate, std::vector<Tensor>& gradients);

  // "model.NAME", "ema.NAME", "adam.m.NAME", "adam.v.NAME". The tensors share memory with the optimiser.
  std::vector<std::pair<std::string, Tensor>> state() const;
  std::vector<Tensor> parameters() const;

  // Puts the moving average in the module's place and back.
  void swap_average();

 private:
  // One entry a parameter: lists, since a GPU updates a list in one go.
  std::vector<std::string> names_;
  std::vector<Tensor*> slots_;
  std::vector<Tensor> average_, m_, v_;
  Options options_;
};

// Scales the gradients down to a global norm of at most max_norm (0 = leave them); returns the norm they had.
double clip_gradients(std::vector<Tensor>& gradients, double max_norm);

}  // namespace resflow::train
