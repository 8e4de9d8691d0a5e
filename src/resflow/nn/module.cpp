#include "resflow/nn/module.h"

#include <ATen/ATen.h>

namespace resflow::nn {

std::vector<NamedTensor> Module::named_parameters() const {
  std::vector<NamedTensor> out;
  collect("", out);
  return out;
}

void Module::collect(const std::string& prefix, std::vector<NamedTensor>& out) const {
  for (const auto& tensor : own_) out.push_back({prefix + tensor.name, tensor.slot, tensor.shape});
  for (const auto& [name, module] : children_) module->collect(prefix + name + ".", out);
}

void Module::initialise(const Stream& stream) { initialise_under("", stream); }

void Module::initialise_under(const std::string& prefix, const Stream& stream) {
  initialise_own(stream.child(prefix));
  for (const auto& [name, module] : children_) module->initialise_under(prefix + name + ".", stream);
  for (const auto& tensor : own_)
    TORCH_CHECK(tensor.slot->defined() && tensor.slot->sizes() == at::IntArrayRef(tensor.shape), prefix, tensor.name,
                ": not initialised to its shape");
}

void Module::to(c10::Device device, c10::ScalarType dtype) {
  for (const auto& tensor : named_parameters()) *tensor.slot = tensor.slot->to(device, dtype);
}

void Module::requires_grad(bool wanted) {
  for (const auto& tensor : named_parameters()) tensor.slot->requires_grad_(wanted);
}

int64_t Module::parameter_count() const {
  int64_t count = 0;
  for (const auto& tensor : named_parameters()) count += c10::multiply_integers(tensor.shape);
  return count;
}

}  // namespace resflow::nn
