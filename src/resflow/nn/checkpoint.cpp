#include "resflow/nn/checkpoint.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>

#include <unordered_set>

namespace resflow::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What the backward pass needs to compute a part again.
struct Part : torch::CustomClassHolder {
  TensorFunction f;
  std::vector<Tensor> leaves;    // parameters that f uses
  std::vector<bool> defined;     // which inputs are there
  std::vector<bool> wants;       // which of them want a gradient
  std::vector<Tensor> computed;  // f's outputs, until the graph has them
  std::vector<Tensor> rebuild(const variable_list& saved, std::vector<Tensor>& inputs) const {
    size_t next = 0;
    for (size_t i = 0; i < defined.size(); ++i) {
      inputs.emplace_back();
      if (defined[i]) inputs.back() = saved[next++].detach().requires_grad_(wants[i]);
    }
    return f(inputs);
  }
};

// The leaves that a graph ends in, in the order they are met.
std::vector<Tensor> leaves_of(const std::vector<Tensor>& outputs, const std::vector<Tensor>& except) {
  std::vector<torch::autograd::Node*> open;
  std::unordered_set<torch::autograd::Node*> seen;
  const auto visit = [&](torch::autograd::Node* node) {
    if (node != nullptr && seen.insert(node).second) open.push_back(node);
  };
  for (const auto& output : outputs)
    if (output.defined()) visit(output.grad_fn().get());
  std::vector<Tensor> out;
  while (!open.empty()) {
    auto* node = open.back();
    open.pop_back();
    if (const auto* leaf = dynamic_cast<torch::autograd::AccumulateGrad*>(node)) {
      const bool own = std::any_of(except.begin(), except.end(), [&](const Tensor& t) { return t.defined() && t.is_same(leaf->variable); });
      if (!own) out.push_back(leaf->variable);
    }
    for (const auto& edge : node->next_edges()) visit(edge.function.get());
  }
  return out;
}

struct Checkpoint : torch::autograd::Function<Checkpoint> {
  static variable_list forward(AutogradContext* context, const c10::intrusive_ptr<Part>& part, at::TensorList inputs, at::TensorList) {
    context->save_for_backward(inputs.vec());
    context->saved_data["part"] = c10::IValue::make_capsule(part);
    context->set_materialize_grads(false);
    return std::move(part->computed);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto part = c10::static_intrusive_pointer_cast<Part>(context->saved_data["part"].toCapsule());
    at::AutoGradMode with_gradients(true);
    std::vector<Tensor> inputs, outputs, given, wanted;
    const auto all = part->rebuild(context->get_saved_variables(), inputs);
    for (size_t i = 0, next = 0; i < all.size(); ++i) {
      if (!all[i].defined()) continue;
      const Tensor& gradient = gradients.at(next++);
      if (!gradient.defined() || !all[i].requires_grad()) continue;
      outputs.push_back(all[i]);
      given.push_back(gradient);
    }
    for (const auto& input : inputs)
      if (input.defined() && input.requires_grad()) wanted.push_back(input);
    wanted.insert(wanted.end(), part->leaves.begin(), part->leaves.end());
    const auto found = torch::autograd::grad(outputs, wanted, given, std::nullopt, /*create_graph=*/false, /*allow_unused=*/true);

    variable_list out(1);  // the part itself has none
    size_t next = 0;
    for (const auto& input : inputs)
      if (input.defined()) out.push_back(input.requires_grad() ? found[next++] : Tensor());
    for (; next < found.size(); ++next) out.push_back(found[next]);
    return out;
  }
};

}  // namespace

std::vector<Tensor> checkpoint(const TensorFunction& f, const std::vector<Tensor>& inputs) {
  if (!at::GradMode::is_enabled()) return f(inputs);
  for (const auto& input : inputs)
    TORCH_CHECK(!input.defined() || !at::autocast::is_autocast_enabled(input.device().type()), "checkpoint: not under autocast");

  auto part = c10::make_intrusive<Part>();
  std::vector<Tensor> present, own;
  for (const auto& input : inputs) {
    part->defined.push_back(input.defined());
    part->wants.push_back(input.defined() && input.requires_grad());
    if (input.defined()) present.push_back(input);
  }
  part->f = f;
  std::vector<Tensor> outputs = part->rebuild(present, own);
  part->leaves = leaves_of(outputs, own);
  std::vector<bool> defined;
  for (auto& output : outputs) {
    defined.push_back(output.defined());
    if (output.defined()) part->computed.push_back(output.detach());
  }
  outputs.clear();  // and with them the graph
  const auto tracked = Checkpoint::apply(part, at::TensorList(present), at::TensorList(part->leaves));
  size_t next = 0;
  for (const bool there : defined) outputs.push_back(there ? tracked[next++] : Tensor());
  return outputs;
}

}  // namespace resflow::nn
