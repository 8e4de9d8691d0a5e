#include "resflow/weights/lora_attach.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <atomic>

#include "resflow/core/error.h"

namespace resflow::weights {
namespace {

constexpr std::string_view kWidening = "x_embedder";

[[noreturn]] void fail(const Lora& lora, const std::string& problem, const std::string& wanted = "", const std::string& got = "",
                       const std::string& hint = "") {
  throw_user_error({.where = "lora", .problem = lora.path.string() + ": " + problem, .wanted = wanted, .got = got, .hint = hint});
}

uint64_t next_owner() {
  static std::atomic<uint64_t> count{0};
  return ++count;
}

struct Plan {
  std::vector<std::pair<nn::Linear*, const LoraModule*>> linears;
  std::vector<std::pair<Tensor*, const Tensor*>> replacements;
};

Plan plan_of(const nn::Module& model, const Lora& lora) {
  std::map<std::string, nn::Linear*> linears;
  for (const auto& [name, module] : model.named_modules())
    if (auto* linear = dynamic_cast<nn::Linear*>(module)) linears[name] = linear;
  std::map<std::string, nn::NamedTensor> tensors;
  for (const auto& tensor : model.named_parameters()) tensors[tensor.name] = tensor;

  Plan plan;
  std::vector<std::string> absent;
  for (const auto& module : lora.modules) {
    if (const auto found = linears.find(module.name); found != linears.end()) {
      plan.linears.emplace_back(found->second, &module);
    } else {
      absent.push_back(module.name);
    }
  }
  for (const auto& [name, tensor] : lora.replacements) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      absent.push_back(name);
      continue;
    }
    if (at::IntArrayRef(found->second.shape) != tensor.sizes())
      fail(lora, fmt::format("'{}' is of another shape", name), fmt::format("[{}]", fmt::join(found->second.shape, ", ")),
           fmt::format("[{}]", fmt::join(tensor.sizes(), ", ")));
    plan.replacements.emplace_back(found->second.slot, &tensor);
  }
  if (!absent.empty()) {
    const size_t shown = std::min<size_t>(absent.size(), 5);
    fail(lora,
         fmt::format("{} of {} modules of the adapter are not in the model: {}{}", absent.size(), lora.modules.size() + lora.replacements.size(),
                     fmt::join(absent.begin(), absent.begin() + static_cast<std::ptrdiff_t>(shown), ", "), shown < absent.size() ? ", ..." : ""),
         "", "", "Is it an adapter of another model?");
  }
  for (const auto& [linear, module] : plan.linears) {
    const bool fits = module->down.size(1) == linear->in() || module->name == kWidening;
    if (!fits || module->up.size(0) != linear->out())
      fail(lora, fmt::format("'{}' is of another size", module->name), fmt::format("{} -> {}", linear->in(), linear->out()),
           fmt::format("{} -> {}", module->down.size(1), module->up.size(0)), "Is it an adapter of another model?");
  }
  return plan;
}

// The numbers that a linear's weight is made of, one for one; nothing where it is quantised.
Tensor* plain_weight(nn::Linear& linear) {
  if (!linear.quantised.defined()) return linear.weight.defined() && linear.weight.element_size() >= 2 ? &linear.weight : nullptr;
  auto& [stored, format, scale, dtype] = linear.quantised;
  const bool plain = format == nullptr && !scale.defined() && stored.is_floating_point() && stored.element_size() >= 2;
  return plain ? &stored : nullptr;
}

void check_merge(const Plan& plan, const Lora& lora, nn::LoraTokens tokens) {
  const std::string hint = "Attach it without merging";
  if (tokens == nn::LoraTokens::condition)
    fail(lora, "an adapter of the condition's tokens alone cannot be merged into weights that serve all tokens", "", "", hint);
  for (const auto& [linear, module] : plan.linears) {
    if (plain_weight(*linear) == nullptr)
      fail(lora, fmt::format("the model's '{}' is quantised: an adapter cannot be merged into it", module->name), "", "", hint);
    if (module->bias.defined() && !linear->bias.defined()) fail(lora, fmt::format("the model's '{}' has no bias to merge into", module->name));
  }
}

// More columns of zeros, or fewer columns.
Tensor with_columns(const Tensor& matrix, int64_t count) {
  const int64_t more = count - matrix.size(1);
  return more > 0 ? at::constant_pad_nd(matrix, {0, more}) : matrix.narrow(1, 0, count);
}

void set_width(nn::Linear& linear, int64_t in) {
  for (auto& delta : linear.loras) delta.down = with_columns(delta.down, in);
}

AttachedLora::Widened widen(nn::Linear& linear, int64_t in) {
  AttachedLora::Widened before{.linear = &linear, .weight = linear.weight, .quantised = linear.quantised, .in = linear.in()};
  linear.replace_weight(with_columns(linear.dense_weight(), in));
  linear.quantised = {};
  set_width(linear, in);
  return before;
}

c10::Device device_of(const nn::Linear& linear) { return linear.quantised.defined() ? linear.quantised.stored.device() : linear.weight.device(); }

}  // namespace

AttachedLora attach(nn::Module& model, const Lora& lora, const LoraUse& use) {
  const Plan plan = plan_of(model, lora);
  const auto tokens = use.tokens.value_or(lora.tokens);
  if (use.merge) check_merge(plan, lora, tokens);

  AttachedLora out{.owner = next_owner()};
  const auto replace = [&](Tensor& slot, Tensor after) {
    out.replaced.push_back({&slot, slot, after});
    slot = std::move(after);
  };
  for (const auto& [slot, tensor] : plan.replacements) replace(*slot, slot->defined() ? tensor->to(slot->device(), slot->scalar_type()) : *tensor);
  for (const auto& [linear, module] : plan.linears) {
    if (module->down.size(1) > linear->in()) out.widened = widen(*linear, module->down.size(1));
    const auto as = [&, place = device_of(*linear)](const Tensor& tensor, c10::ScalarType dtype) {
      return tensor.defined() ? tensor.to(place, dtype) : tensor;
    };
    const Tensor down = with_columns(module->down, linear->in());
    const double scale = use.scale * module->scale;
    if (use.merge) {
      Tensor& weight = *plain_weight(*linear);
      const Tensor wide = at::addmm(weight.to(at::kFloat), as(module->up, at::kFloat), as(down, at::kFloat), 1, scale);
      replace(weight, wide.to(weight.scalar_type()));
      if (module->bias.defined())
        replace(linear->bias, (linear->bias.to(at::kFloat) + scale * as(module->bias, at::kFloat)).to(linear->bias.scalar_type()));
      continue;
    }
    const auto dtype = linear->dtype();
    linear->loras.push_back({.down = as(down, dtype),
                             .up = as(module->up, dtype),
                             .bias = as(module->bias, dtype),
                             .scale = scale,
                             .tokens = tokens,
                             .owner = out.owner});
    out.adapted.push_back(linear);
  }
  return out;
}

void check_fits(const nn::Module& model, const Lora& lora) { plan_of(model, lora); }

void detach(const AttachedLora& attached) {
  for (auto* linear : attached.adapted) std::erase_if(linear->loras, [&](const nn::LoraDelta& delta) { return delta.owner == attached.owner; });
  for (auto change = attached.replaced.rbegin(); change != attached.replaced.rend(); ++change) {
    TORCH_CHECK(change->slot->is_same(change->after), "detach: another adapter changed the same weight since");
    *change->slot = change->before;
  }
  const auto& [linear, weight, quantised, in] = attached.widened;
  if (linear == nullptr) return;
  linear->replace_weight(with_columns(linear->weight, in));
  linear->weight = weight;
  linear->quantised = quantised;
  set_width(*linear, in);
}

}  // namespace resflow::weights
