#include "resflow/weights/lora_list.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "resflow/core/error.h"

namespace resflow::weights {
namespace {

struct Named {
  std::filesystem::path path;
  double scale = 1;
};

Named taken_apart(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || std::filesystem::exists(text)) return {.path = text};
  const auto number = text.substr(colon + 1);
  double scale = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), scale);
  if (error != std::errc() || end != number.data() + number.size() || !std::isfinite(scale))
    throw_user_error({.where = "--lora", .problem = "bad adapter", .wanted = "FILE or FILE:SCALE, as in style.safetensors:0.8", .got = text});
  return {.path = text.substr(0, colon), .scale = scale};
}

nn::LoraTokens tokens_of(const LoraChoice& choice) { return choice.use.tokens.value_or(choice.lora.tokens); }

}  // namespace

std::vector<LoraChoice> open_loras(const std::vector<std::string>& texts, bool merge, const std::string& scope) {
  std::vector<LoraChoice> out;
  for (const auto& text : texts) {
    const auto [path, scale] = taken_apart(text);
    LoraChoice choice{.lora = read_lora(TensorFile::open(path)), .use = {.scale = scale, .merge = merge}};
    if (scope != "auto") choice.use.tokens = scope == "condition" ? nn::LoraTokens::condition : nn::LoraTokens::all;
    out.push_back(std::move(choice));
  }
  return out;
}

Json loras_json(const std::vector<LoraChoice>& choices) {
  Json out = Json::array();
  for (const auto& choice : choices)
    out.push_back({{"file", choice.lora.path.filename().string()},
                   {"format", choice.lora.format},
                   {"scale", choice.use.scale},
                   {"tokens", tokens_of(choice) == nn::LoraTokens::all ? "all" : "condition"}});
  return out;
}

std::vector<std::string> lora_notes(const std::vector<LoraChoice>& choices) {
  std::vector<std::string> out;
  for (const auto& choice : choices)
    for (const auto& [encoder, count] : choice.lora.text_modules)
      out.push_back(fmt::format("{}: adapts {} too, which is left alone (modules: {})", choice.lora.path.string(), encoder, count));
  return out;
}

}  // namespace resflow::weights
