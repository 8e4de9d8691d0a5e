#include "resflow/weights/load.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "resflow/core/device.h"
#include "resflow/core/error.h"

namespace resflow::weights {
namespace {

struct Plan {
  std::vector<std::pair<nn::NamedTensor, std::string>> found;  // slot, name in the file
  LoadReport report;
};

// Decides everything before anything is changed.
Plan plan_of(const nn::Module& module, const TensorFile& file, const std::string& prefix) {
  Plan plan;
  std::set<std::string> wanted;
  for (const auto& parameter : module.named_parameters()) {
    const auto name = prefix + parameter.name;
    TORCH_CHECK(wanted.insert(name).second, "two tensors of one module are named '", name, "'");
    if (!file.contains(name)) {
      plan.report.missing.push_back(name);
      continue;
    }
    [[maybe_unused]] const auto type = file.dtype(name);  // a packing that is not read is told before its shape is
    const auto shape = file.shape(name);
    if (shape != parameter.shape)
      throw_user_error({.where = "load",
                        .problem = fmt::format("{}: tensor '{}': model expects [{}], file has [{}]", file.path().string(), name,
                                               fmt::join(parameter.shape, ", "), fmt::join(shape, ", ")),
                        .hint = "Is this the file of another model or size?"});
    plan.found.emplace_back(parameter, name);
  }
  for (const auto& name : file.names())
    if (name.starts_with(prefix) && !wanted.contains(name)) plan.report.unexpected.push_back(name);
  return plan;
}

void carry_out(const Plan& plan, const TensorFile& file, const Conversion& asked) {
  Conversion conversion = asked;
  std::set<c10::ScalarType> types;
  for (const auto& [parameter, name] : plan.found) {
    if (c10::isFloatingType(file.dtype(name))) types.insert(file.dtype(name));
    conversion.keep_stored = conversion.keep_stored || file.quantised(name);
  }
  // Layers of several types could not take each other's numbers.
  if (types.size() > 1 && !conversion.dtype) conversion.keep_stored = true;
  if (conversion.keep_stored && !conversion.dtype) conversion.dtype = at::kFloat;
  for (const auto& [parameter, name] : plan.found) {
    if (parameter.quantised != nullptr) {
      *parameter.quantised = {};
      if (conversion.keep_stored && file.stored_type(name) != dtype_name(*conversion.dtype)) {
        nn::QuantisedWeight stored = file.stored(name);
        stored.to(conversion.device.value_or(c10::kCPU), *conversion.dtype);
        *parameter.quantised = std::move(stored);
        *parameter.slot = Tensor();
        continue;
      }
    }
    Tensor tensor = file.get(name);
    if (conversion.device) tensor = tensor.to(*conversion.device);
    if (conversion.dtype && tensor.is_floating_point()) tensor = tensor.to(*conversion.dtype);
    if (parameter.slot->defined() && parameter.slot->requires_grad()) tensor.requires_grad_(true);
    *parameter.slot = tensor;
  }
}

// "3 missing: a, b, c"
std::string first_five(const std::string& what, const std::vector<std::string>& names) {
  const size_t shown = std::min<size_t>(names.size(), 5);
  return fmt::format("{} {}: {}{}", names.size(), what, fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                     shown < names.size() ? ", ..." : "");
}

}  // namespace

LoadReport bind(nn::Module& module, const TensorFile& file, const std::string& prefix, const Conversion& conversion) {
  const Plan plan = plan_of(module, file, prefix);
  carry_out(plan, file, conversion);
  return plan.report;
}

void load_strict(nn::Module& module, const TensorFile& file, const std::string& prefix, const Conversion& conversion) {
  const Plan plan = plan_of(module, file, prefix);
  const auto& [missing, unexpected] = plan.report;
  if (!missing.empty() || !unexpected.empty()) {
    std::string text = file.path().string() + ": the file does not fit the model: ";
    if (!missing.empty()) text += first_five("missing", missing);
    if (!missing.empty() && !unexpected.empty()) text += "; ";
    if (!unexpected.empty()) text += first_five("unexpected", unexpected);
    throw_user_error({.where = "load", .problem = text, .hint = "Is this the file of another model or size?"});
  }
  carry_out(plan, file, conversion);
}

std::vector<std::pair<std::string, Tensor>> state_of(const nn::Module& module, const std::string& prefix) {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const auto& parameter : module.named_parameters()) {
    if (parameter.quantised != nullptr && parameter.quantised->defined()) {
      out.emplace_back(prefix + parameter.name, parameter.quantised->dequantise());
      continue;
    }
    TORCH_CHECK(parameter.slot->defined(), "state_of: '", parameter.name, "' is not loaded or initialised");
    out.emplace_back(prefix + parameter.name, parameter.slot->detach());
  }
  return out;
}

}  // namespace resflow::weights
