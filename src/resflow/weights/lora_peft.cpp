// PEFT's adapters under diffusers' names, as diffusers, ai-toolkit and SimpleTuner save them. Scale: alpha / rank, of ".alpha" tensors, of the
// file's metadata (diffusers' "lora_adapter_metadata") or of PEFT's adapter_config.json beside an adapter_model.safetensors; 1 where none says.
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "resflow/core/config_file.h"
#include "resflow/core/error.h"
#include "resflow/core/parse_json.h"
#include "resflow/weights/lora_reader.h"

namespace resflow::weights {
namespace {

// What a LoraConfig of PEFT says of the scales.
struct Scales {
  bool known = false;
  double alpha = 1;
  std::map<std::string, double> alphas;  // of modules whose alpha is another
  bool by_root = false;                  // alpha / sqrt(rank)

  double of(const std::string& name, double rank) const {
    double found = alpha;
    for (const auto& [pattern, value] : alphas) {
      // PEFT matches a pattern at the end of the name, behind a dot; "^" asks for the whole name.
      const bool whole = pattern.starts_with('^');
      const auto text = whole ? pattern.substr(1) : pattern;
      if (name == text || (!whole && name.ends_with("." + text))) {
        found = value;
        break;
      }
    }
    return known ? found / (by_root ? std::sqrt(rank) : rank) : 1;
  }
};

[[noreturn]] void fail(const std::string& where, const std::string& problem, const std::string& wanted = "", const std::string& got = "") {
  throw_user_error({.where = "lora", .problem = where + ": " + problem, .wanted = wanted, .got = got});
}

// prefix: of the keys that are the transformer's, "transformer." or none.
Scales scales_of(const Json& config, const std::string& prefix, const std::string& where) {
  const auto value = [&](const char* key) { return config.contains(prefix + key) ? config.at(prefix + key) : Json(); };
  Scales out;
  if (const Json dora = value("use_dora"); dora.is_boolean() && dora.get<bool>()) fail(where, "this adapter is a DoRA, not a LoRA");
  const Json alpha = value("lora_alpha");
  if (alpha.is_null()) return out;
  if (!alpha.is_number()) fail(where, "bad lora_alpha", "a number", alpha.dump());
  out.known = true;
  out.alpha = alpha.get<double>();
  if (const Json root = value("use_rslora"); root.is_boolean()) out.by_root = root.get<bool>();
  const Json patterns = value("alpha_pattern");
  if (!patterns.is_object()) return out;
  for (const auto& [pattern, number] : patterns.items()) {
    if (!number.is_number()) fail(where, "bad alpha_pattern", "numbers", number.dump());
    std::string plain;
    for (const char c : pattern)
      if (c != '\\') plain += c;
    if (plain.find_first_of("*+?[](){}|$") != std::string::npos) fail(where, "an alpha_pattern that is not a plain name", "", pattern);
    out.alphas[plain] = number.get<double>();
  }
  return out;
}

Scales scales_for(const TensorFile& file) {
  if (const auto found = file.metadata().find("lora_adapter_metadata"); found != file.metadata().end()) {
    const auto where = file.path().string() + ", lora_adapter_metadata";
    const Json json = parse_json(found->second);
    if (!json.is_object()) fail(where, "not a JSON object");
    return scales_of(json, "transformer.", where);
  }
  const auto config = file.path().parent_path() / "adapter_config.json";
  if (file.path().stem() == "adapter_model" && std::filesystem::exists(config)) return scales_of(read_json_object(config), "", config.string());
  return {};
}

bool is_norm(const std::string& name) {
  constexpr std::array<std::string_view, 4> kNorms = {".norm_q.weight", ".norm_k.weight", ".norm_added_q.weight", ".norm_added_k.weight"};
  return std::any_of(kNorms.begin(), kNorms.end(), [&](std::string_view norm) { return name.ends_with(norm); });
}

void read(const TensorFile& file, LoraKeys& keys, Lora& lora) {
  for (const auto& key : keys.others) {
    if (is_norm(key)) {
      lora.replacements.emplace_back(without_lora_prefix(key), file.get(key));
    } else {
      keys.unmatched.push_back(key);
    }
  }
  const Scales scales = scales_for(file);
  for (const auto& parts : keys.modules) {
    const auto name = without_lora_prefix(parts.module);
    const double rank = parts.down.defined() && parts.down.dim() == 2 ? static_cast<double>(parts.down.size(0)) : 1;
    add_lora_module(lora, parts, {.names = {name}}, scales.of(name, rank));
  }
  // Where we wrote the file, it says which tokens it was trained for.
  if (const auto found = file.metadata().find("resflow.tokens"); found != file.metadata().end())
    lora.tokens = found->second == "condition" ? nn::LoraTokens::condition : nn::LoraTokens::all;
}

}  // namespace

const LoraReader& peft_lora_reader() {
  static const LoraReader reader{"peft", [](const LoraKeys&) { return true; }, read};
  return reader;
}

}  // namespace resflow::weights
