#include "resflow/weights/lora_save.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "resflow/weights/safetensors.h"

namespace resflow::weights {
namespace {

template <class Value>
Value most_common(const std::map<Value, int64_t>& counts) {
  return std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
}

}  // namespace

void write_lora(const std::filesystem::path& path, const Lora& lora, const std::string& base, const std::map<std::string, std::string>& more) {
  TORCH_CHECK(!lora.modules.empty(), "write_lora: no module");
  std::map<int64_t, int64_t> ranks;
  std::map<double, int64_t> alphas;
  const auto alpha_of = [](const LoraModule& module) { return module.scale * static_cast<double>(module.rank()); };
  for (const auto& module : lora.modules) {
    ++ranks[module.rank()];
    ++alphas[alpha_of(module)];
  }
  const int64_t rank = most_common(ranks);
  const double alpha = most_common(alphas);

  std::vector<std::pair<std::string, Tensor>> tensors;
  Json rank_pattern = Json::object(), alpha_pattern = Json::object(), targets = Json::array();
  bool biased = false;
  for (const auto& module : lora.modules) {
    const auto name = "transformer." + module.name;
    tensors.emplace_back(name + ".lora_A.weight", module.down.contiguous());
    tensors.emplace_back(name + ".lora_B.weight", module.up.contiguous());
    if (module.bias.defined()) tensors.emplace_back(name + ".lora_B.bias", module.bias.contiguous());
    biased = biased || module.bias.defined();
    targets.push_back(module.name);
    // "^": PEFT would take "proj_out" for every block's too.
    if (module.rank() != rank) rank_pattern["^" + module.name] = module.rank();
    if (alpha_of(module) != alpha) alpha_pattern["^" + module.name] = alpha_of(module);
  }
  for (const auto& [name, tensor] : lora.replacements) tensors.emplace_back("transformer." + name, tensor);

  const Json config = {{"transformer.alpha_pattern", alpha_pattern},
                       {"transformer.lora_alpha", alpha},
                       {"transformer.lora_bias", biased},
                       {"transformer.r", rank},
                       {"transformer.rank_pattern", rank_pattern},
                       {"transformer.target_modules", targets},
                       {"transformer.use_dora", false},
                       {"transformer.use_rslora", false}};
  std::map<std::string, std::string> metadata = {{"format", "pt"},
                                                 {"lora_adapter_metadata", config.dump(2)},
                                                 {"resflow.version", RESFLOW_VERSION},
                                                 {"resflow.rank", std::to_string(rank)},
                                                 {"resflow.tokens", lora.tokens == nn::LoraTokens::all ? "all" : "condition"}};
  if (!base.empty()) metadata["resflow.base"] = base;
  metadata.insert(more.begin(), more.end());
  write_safetensors(path, tensors, metadata);
}

}  // namespace resflow::weights
