#include "resflow/weights/lora.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <set>

#include "resflow/core/error.h"
#include "resflow/weights/lora_reader.h"

namespace resflow::weights {
namespace {

[[noreturn]] void fail(const TensorFile& file, const std::string& problem, const std::string& hint = "") {
  throw_user_error({.where = "lora", .problem = file.path().string() + ": " + problem, .hint = hint});
}

// "12", "0.5"
std::string short_number(double value) { return fmt::format("{:.6g}", value); }

}  // namespace

int64_t Lora::parameter_count() const {
  int64_t count = 0;
  std::set<const void*> seen;  // the parts of what was fused share their down
  for (const auto& module : modules) {
    if (seen.insert(module.down.data_ptr()).second) count += module.down.numel();
    count += module.up.numel() + (module.bias.defined() ? module.bias.numel() : 0);
  }
  for (const auto& [name, tensor] : replacements) count += tensor.numel();
  return count;
}

Lora read_lora(const TensorFile& file) {
  LoraKeys keys = sort_lora_keys(file);
  if (keys.modules.empty()) {
    if (!keys.text_modules.empty()) fail(file, "the adapter is for text encoders alone", "FLUX's transformer has nothing of it");
    fail(file, "no adapter in this file", "`resflow inspect` says what a file is");
  }
  for (const LoraReader* reader : {&xlabs_lora_reader(), &kohya_lora_reader(), &bfl_lora_reader(), &omini_lora_reader(), &peft_lora_reader()}) {
    if (!reader->reads(keys)) continue;
    Lora lora{.path = file.path(), .format = std::string(reader->format), .text_modules = keys.text_modules};
    reader->read(file, keys, lora);
    if (!keys.unmatched.empty()) {
      const size_t shown = std::min<size_t>(keys.unmatched.size(), 5);
      fail(file,
           fmt::format("{} of {} keys have no place in FLUX's transformer: {}{}", keys.unmatched.size(), file.names().size(),
                       fmt::join(keys.unmatched.begin(), keys.unmatched.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                       shown < keys.unmatched.size() ? ", ..." : ""),
           fmt::format("It was read as {}'s; is it an adapter of another model?", lora.format));
    }
    std::set<std::string_view> names;
    for (const auto& module : lora.modules)
      if (!names.insert(module.name).second) fail(file, fmt::format("two adapters in one file for '{}'", module.name));
    return lora;
  }
  TORCH_CHECK(false, "the last reader takes every file");
}

Json lora_summary(const Lora& lora) {
  Json out = {{"format", lora.format},
              {"tokens", lora.tokens == nn::LoraTokens::all ? "all" : "condition"},
              {"modules", lora.modules.size()},
              {"parameters", lora.parameter_count()},
              {"ranks", Json::object()},
              {"alphas", Json::object()},
              {"replacements", lora.replacements.size()},
              {"text_modules", lora.text_modules}};
  std::map<int64_t, int64_t> ranks;
  std::map<double, int64_t> alphas;
  for (const auto& module : lora.modules) {
    ++ranks[module.rank()];
    ++alphas[module.scale * static_cast<double>(module.rank())];
  }
  for (const auto& [rank, count] : ranks) out["ranks"][std::to_string(rank)] = count;
  for (const auto& [alpha, count] : alphas) out["alphas"][short_number(alpha)] = count;
  return out;
}

}  // namespace resflow::weights
