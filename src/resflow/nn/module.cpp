#include "resflow/nn/module.h"

#include <ATen/ATen.h>

namespace resflow::nn {

std::vector<NamedTensor> Module::named_parameters() const {
  std::vector<NamedTensor> out;
  collect("", out);
  return out;
}

void Module::collect(const std::string& prefix, std::vector<NamedTensor>& out) const {
  for (const auto& tensor : own_) out.push_back({prefix + tensor.name, tensor.slot, tensor.shape, tensor.quantised});
  for (const auto& [name, module] : children_) module->collect(prefix + name + ".", out);
}

std::vector<std::pair<std::string, Module*>> Module::named_modules() const {
  std::vector<std::pair<std::string, Module*>> out;
  collect_modules("", out);
  return out;
}

void Module::collect_modules(const std::string& prefix, std::vector<std::pair<std::string, Module*>>& out) const {
  for (const auto& [name, module] : children_) {
    out.emplace_back(prefix + name, module);
    module->collect_modules(prefix + name + ".", out);
  }
}

void Module::redeclare(std::string_view name, std::vector<int64_t> shape) {
  for (auto& tensor : own_)
    if (tensor.name == name) tensor.shape = std::move(shape);
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
  for (const auto& tensor : named_parameters()) {
    if (tensor.quantised != nullptr && tensor.quantised->defined()) {
      tensor.quantised->to(device, dtype);
    } else {
      *tensor.slot = tensor.slot->to(device, dtype);
    }
  }
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
