#include "resflow/weights/scales.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <array>
#include <optional>
#include <set>

#include "resflow/core/error.h"

namespace resflow::weights {
namespace {

// What stands beside X.weight, at X.
constexpr std::array<std::string_view, 2> kScales = {".scale_weight", ".weight_scale"};
constexpr std::array<std::string_view, 4> kBeside = {".scale_input", ".input_scale", ".comfy_quant", ".weight_scale_2"};
constexpr std::string_view kNf4 = ".weight.absmax";
constexpr std::string_view kMarker = "scaled_fp8";

// What a packed layer is called, where it is one.
std::optional<std::string> packing(const TensorSource& source, const std::string& layer) {
  if (source.contains(layer + std::string(kNf4))) return "nf4 or int4 of bitsandbytes";
  if (source.contains(layer + ".weight_scale_2")) return "nvfp4";
  for (const auto scale : kScales) {
    const auto name = layer + std::string(scale);
    if (!source.contains(name)) continue;
    const auto type = source.dtype(name);
    const bool number = type == c10::kFloat || type == c10::kHalf || type == c10::kBFloat16;
    const auto shape = source.shape(name), weight = source.shape(layer + ".weight");
    const auto count = c10::multiply_integers(shape);
    if (!number || (count != 1 && (weight.empty() || count != weight[0]))) return "blocks with scales of their own (mxfp8, int8 by blocks)";
  }
  return std::nullopt;
}

class Scaled final : public TensorSource {
 public:
  explicit Scaled(std::shared_ptr<const TensorSource> source) : source_(std::move(source)) {
    std::set<std::string> hidden;
    for (const auto& name : source_->names()) {
      if (name == kMarker || name.ends_with("." + std::string(kMarker))) hidden.insert(name);
      if (!name.ends_with(".weight") || source_->names().empty()) continue;
      const std::string layer = name.substr(0, name.size() - std::string_view(".weight").size());
      if (const auto packed = packing(*source_, layer)) packed_.emplace(name, *packed);
      for (const auto beside : kBeside)
        if (source_->contains(layer + std::string(beside))) hidden.insert(layer + std::string(beside));
      for (const auto suffix : kScales) {
        const auto scale = layer + std::string(suffix);
        if (!source_->contains(scale)) continue;
        hidden.insert(scale);
        if (packed_.contains(name)) continue;
        const Tensor value = source_->get(scale).to(at::kFloat).flatten();
        scales_.emplace(name, value.numel() == 1 ? value : value.view({-1, 1}));
      }
    }
    for (const auto& name : source_->names())
      if (!hidden.contains(name)) names_.push_back(name);
    listed_.insert(names_.begin(), names_.end());
  }

  bool nothing() const { return names_.size() == source_->names().size() && packed_.empty(); }

  const std::filesystem::path& path() const override { return source_->path(); }
  const std::string& format() const override { return source_->format(); }
  const std::vector<std::string>& names() const override { return names_; }
  const std::map<std::string, std::string>& metadata() const override { return source_->metadata(); }
  bool contains(std::string_view name) const override { return listed_.find(name) != listed_.end(); }
  std::vector<int64_t> shape(std::string_view name) const override { return source_->shape(name); }
  c10::ScalarType dtype(std::string_view name) const override {
    refuse(name);
    return scale(name).defined() ? c10::kFloat : source_->dtype(name);
  }
  std::string stored_type(std::string_view name) const override {
    if (const auto packed = packed_.find(name); packed != packed_.end()) return packed->second;
    return source_->stored_type(name) + (scale(name).defined() ? " scaled" : "");
  }
  bool quantised(std::string_view name) const override { return scale(name).defined() || source_->quantised(name); }
  nn::QuantisedWeight stored(std::string_view name) const override {
    refuse(name);
    auto out = source_->stored(name);
    out.scale = scale(name);
    return out;
  }
  std::vector<std::string_view> mapped(std::string_view name) const override { return source_->mapped(name); }
  Tensor get(std::string_view name) const override {
    refuse(name);
    const Tensor by = scale(name), numbers = source_->get(name);
    if (!by.defined()) return numbers;
    std::vector<int64_t> spread(static_cast<size_t>(numbers.dim()), 1);  // one number, or one a row
    if (by.numel() > 1) spread[0] = by.numel();
    return numbers.to(at::kFloat) * by.view(spread);
  }

 private:
  Tensor scale(std::string_view name) const {
    const auto found = scales_.find(name);
    return found != scales_.end() ? found->second : Tensor();
  }
  void refuse(std::string_view name) const {
    if (const auto packed = packed_.find(name); packed != packed_.end())
      throw_user_error({.where = format(),
                        .problem = fmt::format("{}: tensor '{}' is packed in a way that is not read", path().string(), name),
                        .wanted = "float8 (plain or scaled), bf16, f16, f32, or a GGUF file",
                        .got = packed->second});
  }

  std::shared_ptr<const TensorSource> source_;
  std::vector<std::string> names_;
  std::set<std::string, std::less<>> listed_;
  std::map<std::string, Tensor, std::less<>> scales_;       // float32, [1] or [rows, 1]
  std::map<std::string, std::string, std::less<>> packed_;  // tensor -> how
};

}  // namespace

std::shared_ptr<const TensorSource> with_scales(std::shared_ptr<const TensorSource> source) {
  auto scaled = std::make_shared<const Scaled>(source);
  if (scaled->nothing()) return source;
  return scaled;
}

}  // namespace resflow::weights
