#include "resflow/weights/load.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <numeric>
#include <set>

#include "resflow/core/device.h"
#include "resflow/core/error.h"
#include "resflow/core/read_ahead.h"

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

// What is asked for, with what the file's types make of it.
Conversion decided(const Plan& plan, const TensorFile& file, const Conversion& asked) {
  Conversion conversion = asked;
  std::set<c10::ScalarType> types;
  for (const auto& [parameter, name] : plan.found) {
    if (c10::isFloatingType(file.dtype(name))) types.insert(file.dtype(name));
    conversion.keep_stored = conversion.keep_stored || file.quantised(name);
  }
  if (conversion.widen) {
    conversion.keep_stored = false;
    if (!conversion.dtype) conversion.dtype = at::kFloat;
  }
  // Layers of several types could not take each other's numbers.
  if (types.size() > 1 && !conversion.dtype) conversion.keep_stored = true;
  if (conversion.keep_stored && !conversion.dtype) conversion.dtype = at::kFloat;
  return conversion;
}

bool stays_stored(const nn::NamedTensor& parameter, const std::string& name, const TensorFile& file, const Conversion& conversion) {
  return parameter.quantised != nullptr && conversion.keep_stored && file.stored_type(name) != dtype_name(*conversion.dtype);
}

c10::ScalarType type_of(const std::string& name, const TensorFile& file, const Conversion& conversion) {
  const auto type = file.dtype(name);
  return c10::isFloatingType(type) ? conversion.dtype.value_or(type) : type;
}

// Small tensors that will be converted lie all over the file: each would wait for the disk in its turn.
void read_small_ahead(const Plan& plan, const TensorFile& file, const Conversion& conversion) {
  constexpr size_t kSmall = 1 << 20;
  for (const auto& [parameter, name] : plan.found) {
    if (stays_stored(parameter, name, file, conversion)) continue;
    if (!conversion.device && type_of(name, file, conversion) == file.dtype(name)) continue;
    for (const auto bytes : file.mapped(name))
      if (bytes.size() <= kSmall) read_ahead(bytes.data(), bytes.size());
  }
}

void carry_out(const Plan& plan, const TensorFile& file, const Conversion& asked) {
  const Conversion conversion = decided(plan, file, asked);
  read_small_ahead(plan, file, conversion);
  for (const auto& [parameter, name] : plan.found) {
    if (parameter.quantised != nullptr) {
      *parameter.quantised = {};
      if (stays_stored(parameter, name, file, conversion)) {
        nn::QuantisedWeight stored = file.stored(name);
        stored.to(conversion.device.value_or(c10::kCPU), *conversion.dtype);
        *parameter.quantised = std::move(stored);
        *parameter.slot = Tensor();
        continue;
      }
    }
    if (conversion.device && conversion.device->is_meta()) {  // a shape alone: nothing is read, or taken apart, for it
      *parameter.slot = at::empty(file.shape(name), at::TensorOptions().dtype(type_of(name, file, conversion)).device(at::kMeta));
      continue;
    }
    Tensor tensor = file.get(name);
    if (conversion.device) tensor = tensor.to(*conversion.device);
    if (conversion.dtype && tensor.is_floating_point()) tensor = tensor.to(*conversion.dtype);
    if (parameter.slot->defined() && parameter.slot->requires_grad()) tensor.requires_grad_(true);
    *parameter.slot = tensor;
  }
}

Footprint footprint_of(const Plan& plan, const TensorFile& file, const Conversion& asked) {
  const Conversion conversion = decided(plan, file, asked);
  Footprint out;
  for (const auto& [parameter, name] : plan.found) {
    const auto mapped = file.mapped(name);
    const auto type = type_of(name, file, conversion);
    const bool stored = stays_stored(parameter, name, file, conversion);
    int64_t bytes = c10::multiply_integers(parameter.shape) * static_cast<int64_t>(c10::elementSize(type));
    if (stored && !mapped.empty())
      bytes =
          std::accumulate(mapped.begin(), mapped.end(), int64_t{0}, [](int64_t sum, auto part) { return sum + static_cast<int64_t>(part.size()); });
    const bool as_it_is = stored || (!file.quantised(name) && file.dtype(name) == type);
    const bool stays = conversion.device.value_or(c10::kCPU) == c10::kCPU && mapped.size() == 1 && as_it_is;
    (stays ? out.mapped : out.copied) += bytes;
  }
  return out;
}

// "3 missing: a, b, c"
std::string first_five(const std::string& what, const std::vector<std::string>& names) {
  const size_t shown = std::min<size_t>(names.size(), 5);
  return fmt::format("{} {}: {}{}", names.size(), what, fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                     shown < names.size() ? ", ..." : "");
}

}  // namespace

Footprint footprint(const nn::Module& module, const TensorFile& file, const std::string& prefix, const Conversion& conversion) {
  return footprint_of(plan_of(module, file, prefix), file, conversion);
}

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
