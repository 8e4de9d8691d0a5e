#include "resflow/rewards/feature_distance.h"

#include <ATen/ATen.h>

#include <charconv>
#include <sstream>

#include "resflow/core/error.h"
#include "resflow/rewards/efficientnet_lite.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::rewards {
namespace {

constexpr double kSmallestNorm = 1e-12;

std::vector<int64_t> parse_taps(const std::string& text, int64_t blocks, const std::string& where) {
  std::vector<int64_t> taps;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    int64_t tap = -1;
    const auto end = word.data() + word.size();
    const auto parsed = std::from_chars(word.data(), end, tap);
    if (parsed.ec != std::errc() || parsed.ptr != end || tap < (taps.empty() ? 0 : taps.back() + 1) || tap >= blocks)
      throw_user_error(
          {.where = where, .problem = "bad taps", .wanted = "ascending blocks below " + std::to_string(blocks) + ", as in 0,2,4", .got = text});
    taps.push_back(tap);
  }
  return taps;
}

}  // namespace

FeatureDistance FeatureDistance::load(const std::filesystem::path& safetensors) {
  const auto file = weights::TensorFile::open(safetensors);
  const auto& metadata = file.metadata();
  const auto value = [&](const std::string& key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : std::string(found->second);
  };
  if (value("family") != "efficientnet-lite")
    throw_user_error({.where = safetensors.string(),
                      .problem = "not a feature trunk",
                      .wanted = "metadata with family = efficientnet-lite",
                      .got = "family = '" + value("family") + "'",
                      .hint = "tools/efficientnet_lite_to_safetensors.py makes such files"});
  return with_context(safetensors.string(), [&] {
    auto architecture = lite_architecture(value("variant"));
    auto taps = parse_taps(value("taps"), static_cast<int64_t>(architecture.blocks.size()), "taps");
    if (taps.empty()) taps = default_taps(architecture);
    const auto get = [&](const std::string& name) { return file.get(name).to(at::kFloat); };
    return FeatureDistance(std::make_shared<EfficientNetLite>(std::move(architecture), get), std::move(taps));
  });
}

std::vector<Tensor> FeatureDistance::features(const Tensor& images) const {
  auto out = trunk_->features(images, taps_);
  for (auto& feature : out) {
    if (c10::isReducedFloatingType(feature.scalar_type())) feature = feature.to(at::kFloat);  // siblings differ by less than bf16 tells apart
    feature = feature / at::linalg_vector_norm(feature, 2, at::IntArrayRef{1}, true).clamp_min(kSmallestNorm);
  }
  return out;
}

Tensor FeatureDistance::distance(const Tensor& a, const Tensor& b) const { return distance_to(a, features(b)); }

Tensor FeatureDistance::distance_to(const Tensor& a, const std::vector<Tensor>& target_features) const {
  return between(features(a), target_features);
}

Tensor FeatureDistance::between(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  TORCH_CHECK(a.size() == b.size(), "wanted features of ", a.size(), " taps, got ", b.size());
  Tensor sum;
  for (size_t i = 0; i < a.size(); ++i) {
    TORCH_CHECK(a[i].sizes().slice(1) == b[i].sizes().slice(1), "pictures of different size: ", a[i].sizes(), " and ", b[i].sizes());
    const auto each = (a[i] - b[i]).square().sum(1).mean(at::IntArrayRef{1, 2});  // [B]
    sum = sum.defined() ? sum + each : each;
  }
  return sum / static_cast<double>(a.size());
}

std::vector<int64_t> FeatureDistance::channels() const {
  std::vector<int64_t> out;
  for (const int64_t tap : taps_) out.push_back(trunk_->architecture().blocks[static_cast<size_t>(tap)].out);
  return out;
}

void FeatureDistance::to(c10::Device device) { trunk_->to(device); }

const std::string& FeatureDistance::variant() const { return trunk_->architecture().variant; }

}  // namespace resflow::rewards
