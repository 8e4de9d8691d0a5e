#include "resflow/rewards/aesthetic_head.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "resflow/core/error.h"
#include "resflow/weights/load.h"

namespace resflow::rewards {
namespace {

constexpr std::string_view kWeight = "weight";

// Beginnings of the layers' names, in the order of their numbers: "layers.0.", "layers.2.", ...; "" for a single one.
std::vector<std::string> layers_of(const weights::TensorFile& file, std::string_view layers) {
  if (file.contains(kWeight)) return {""};
  std::vector<int> numbers;
  for (const auto& name : file.names()) {
    int number = 0;
    const auto end = name.data() + name.size();
    if (!name.starts_with(layers) || !name.ends_with(kWeight)) continue;
    if (std::from_chars(name.data() + layers.size(), end, number).ec == std::errc()) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  std::vector<std::string> out;
  for (const int number : numbers) out.push_back(fmt::format("{}{}.", layers, number));
  return out;
}

}  // namespace

AestheticHead AestheticHead::load(const std::filesystem::path& path) { return load(weights::TensorFile::open(path)); }

AestheticHead AestheticHead::load(const weights::TensorFile& file, std::string_view layers) {
  const auto complain = [&](const std::string& problem) {
    throw_user_error({.where = file.path().string(), .problem = problem, .wanted = "linear layers one after another, the last of one output"});
  };
  AestheticHead head;
  for (const auto& layer : layers_of(file, layers)) {
    const Tensor weight = file.get(layer + "weight").to(at::kDouble), bias = file.get(layer + "bias").to(at::kDouble);
    const bool fits =
        weight.dim() == 2 && bias.dim() == 1 && bias.size(0) == weight.size(0) && (!head.weight_.defined() || weight.size(1) == head.weight_.size(0));
    if (!fits) complain("layer '" + layer + "' does not follow the one before");
    head.bias_ = head.weight_.defined() ? at::mv(weight, head.bias_) + bias : bias;
    head.weight_ = head.weight_.defined() ? at::mm(weight, head.weight_) : weight;
  }
  if (!head.weight_.defined() || head.weight_.size(0) != 1) complain("not an aesthetic head");
  return head;
}

Tensor AestheticHead::forward(const Tensor& embeddings) const { return at::linear(embeddings.to(at::kDouble), weight_, bias_).squeeze(1); }

}  // namespace resflow::rewards
