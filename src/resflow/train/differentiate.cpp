#include "resflow/train/differentiate.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/graph_task.h>

namespace resflow::train {
namespace {

// Hooks on the parameters, for as long as this lives.
class Hooks {
 public:
  Hooks(const Tensor& loss, const std::vector<Tensor>& parameters, const GradientSink& sink) : parameters_(parameters) {
    if (!sink) return;
    // A checkpointed part differentiates itself in a backward pass of its own, inside this one, in which the hooks are called too: that is one more
    // call for the parameter. The loss is seen in the outer pass alone, and before all else.
    loss.register_hook([this](const Tensor&) { pass_ = torch::autograd::get_current_graph_task_id(); });
    for (size_t i = 0; i < parameters.size(); ++i)
      hooks_.push_back(parameters[i].register_hook([this, i, sink](const Tensor& gradient) {
        if (gradient.defined() && torch::autograd::get_current_graph_task_id() == pass_) sink(i, gradient);
      }));
  }
  ~Hooks() {
    for (size_t i = 0; i < hooks_.size(); ++i) parameters_[i].remove_hook(hooks_[i]);
  }
  Hooks(const Hooks&) = delete;
  Hooks& operator=(const Hooks&) = delete;

 private:
  const std::vector<Tensor>& parameters_;
  std::vector<unsigned> hooks_;
  int pass_ = -1;
};

}  // namespace

std::vector<Tensor> differentiate(const Tensor& loss, const std::vector<Tensor>& parameters, const GradientSink& sink) {
  const Hooks hooks(loss, parameters, sink);
  auto gradients = torch::autograd::grad({loss}, parameters, {}, std::nullopt, /*create_graph=*/false, /*allow_unused=*/true);
  for (size_t i = 0; i < parameters.size(); ++i)
    if (!gradients[i].defined()) gradients[i] = at::zeros_like(parameters[i]);
  return gradients;
}

}  // namespace resflow::train
