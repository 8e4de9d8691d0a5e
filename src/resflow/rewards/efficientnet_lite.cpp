#include "resflow/rewards/efficientnet_lite.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "resflow/core/registry.h"

namespace resflow::rewards {
namespace {

constexpr int64_t kStemWidth = 32;
// Inputs are centred as in the Lite models' own preprocessing, (byte - 127) / 128.
constexpr double kMean = 0.498, kScale = 0.502;

struct Variant {
  std::string_view name;
  double width, depth;
  int64_t resolution;
};
constexpr std::array<Variant, 5> kVariants = {{
    {"lite0", 1.0, 1.0, 224},
    {"lite1", 1.0, 1.1, 240},
    {"lite2", 1.1, 1.2, 260},
    {"lite3", 1.2, 1.4, 280},
    {"lite4", 1.4, 1.8, 300},
}};

struct Stage {
  int64_t repeats, kernel, stride, expansion, out;
};
constexpr std::array<Stage, 7> kStages = {{
    {1, 3, 1, 1, 16},
    {2, 3, 2, 6, 24},
    {2, 5, 2, 6, 40},
    {3, 3, 2, 6, 80},
    {3, 5, 1, 6, 112},
    {4, 5, 2, 6, 192},
    {1, 3, 1, 6, 320},
}};

// To the nearest multiple of 8, but never by more than 10 % down.
int64_t scaled_width(int64_t width, double factor) {
  const double wanted = static_cast<double>(width) * factor;
  const auto rounded = std::max<int64_t>(8, static_cast<int64_t>(wanted + 4) / 8 * 8);
  return static_cast<double>(rounded) < 0.9 * wanted ? rounded + 8 : rounded;
}

int64_t strided(int64_t size, int64_t stride) { return (size + stride - 1) / stride; }

using TensorSource = std::function<Tensor(const std::string&)>;

// `size`: height and width of the convolution's input at the trained resolution.
FoldedConv read_conv(const TensorSource& get, const std::string& name, at::IntArrayRef shape, int64_t stride, int64_t groups, int64_t size) {
  FoldedConv conv{.weight = get(name + ".weight"), .bias = get(name + ".bias"), .stride = stride, .groups = groups};
  if (conv.weight.sizes() != shape || conv.bias.sizes() != shape.slice(0, 1))
    throw_user_error({.where = name, .problem = "wrong shape", .wanted = c10::str(shape), .got = c10::str(conv.weight.sizes())});
  const int64_t total = std::max<int64_t>((strided(size, stride) - 1) * stride + shape[2] - size, 0);
  conv.padding = {total / 2, total - total / 2};
  return conv;
}

// In place: its gradient needs its output only, and a convolution's gradient does not need its output.
Tensor activated(Tensor x) { return at::relu6_(x); }

}  // namespace

LiteArchitecture lite_architecture(std::string_view variant) {
  const auto* found = std::find_if(kVariants.begin(), kVariants.end(), [&](const Variant& v) { return v.name == variant; });
  if (found == kVariants.end()) {
    std::vector<std::string> names;
    for (const auto& v : kVariants) names.emplace_back(v.name);
    throw_unknown_name("EfficientNet variant", variant, names);
  }
  LiteArchitecture out{.variant = std::string(variant), .resolution = found->resolution};
  int64_t width = kStemWidth;
  for (size_t s = 0; s < kStages.size(); ++s) {
    const auto& stage = kStages[s];
    const bool fixed_depth = s == 0 || s + 1 == kStages.size();
    const auto repeats = fixed_depth ? stage.repeats : static_cast<int64_t>(std::ceil(found->depth * static_cast<double>(stage.repeats)));
    for (int64_t i = 0; i < repeats; ++i) {
      out.blocks.push_back({.in = width,
                            .out = scaled_width(stage.out, found->width),
                            .kernel = stage.kernel,
                            .stride = i == 0 ? stage.stride : 1,
                            .expansion = stage.expansion,
                            .stage = static_cast<int>(s) + 1});
      width = out.blocks.back().out;
    }
  }
  return out;
}

std::vector<int64_t> default_taps(const LiteArchitecture& architecture) {
  std::vector<int64_t> taps;
  const auto& blocks = architecture.blocks;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const bool last_of_stage = i + 1 == blocks.size() || blocks[i + 1].stage != blocks[i].stage;
    if (last_of_stage && blocks[i].stage != 6) taps.push_back(static_cast<int64_t>(i));
  }
  return taps;
}

Tensor FoldedConv::operator()(const Tensor& x) const {
  const auto [before, after] = padding;
  if (before == after) return at::conv2d(x, weight, bias, stride, before, 1, groups);
  return at::conv2d(at::constant_pad_nd(x, {before, after, before, after}), weight, bias, stride, at::IntArrayRef{0, 0}, 1, groups);
}

EfficientNetLite::EfficientNetLite(LiteArchitecture architecture, const TensorSource& get) : architecture_(std::move(architecture)) {
  int64_t size = architecture_.resolution;
  stem_ = read_conv(get, "stem", {kStemWidth, 3, 3, 3}, 2, 1, size);
  size = strided(size, 2);
  for (size_t i = 0; i < architecture_.blocks.size(); ++i) {
    const auto& block = architecture_.blocks[i];
    const auto name = fmt::format("blocks.{}.", i);
    const int64_t inner = block.in * block.expansion;
    Block made;
    if (block.expansion != 1) made.expand = read_conv(get, name + "expand", {inner, block.in, 1, 1}, 1, 1, size);
    made.depthwise = read_conv(get, name + "depthwise", {inner, 1, block.kernel, block.kernel}, block.stride, inner, size);
    size = strided(size, block.stride);
    made.project = read_conv(get, name + "project", {block.out, inner, 1, 1}, 1, 1, size);
    blocks_.push_back(std::move(made));
  }
  to(c10::kCPU);
}

std::vector<Tensor> EfficientNetLite::features(const Tensor& images, const std::vector<int64_t>& taps) const {
  check_shape(images, "B 3 H W", "images");
  TORCH_CHECK(!taps.empty() && std::is_sorted(taps.begin(), taps.end()) && taps.back() < static_cast<int64_t>(blocks_.size()), "bad taps");
  const auto centred = (images.to(stem_.weight.scalar_type()) - kMean) / kScale;
  auto x = activated(stem_(centred.contiguous(at::MemoryFormat::ChannelsLast)));  // [B, 32, H/2, W/2]
  std::vector<Tensor> out;
  for (int64_t i = 0; i <= taps.back(); ++i) {
    const auto& block = blocks_[i];
    auto y = block.expand.weight.defined() ? activated(block.expand(x)) : x;
    y = block.project(activated(block.depthwise(y)));  // [B, out, H/2^k, W/2^k]
    x = architecture_.blocks[i].has_shortcut() ? x + y : y;
    if (std::find(taps.begin(), taps.end(), i) != taps.end()) out.push_back(x);
  }
  return out;
}

void EfficientNetLite::to(c10::Device device) {
  const auto move = [&](FoldedConv& conv) {
    if (!conv.weight.defined()) return;
    conv.weight = conv.weight.to(device).contiguous(at::MemoryFormat::ChannelsLast);
    conv.bias = conv.bias.to(device);
  };
  move(stem_);
  for (auto& block : blocks_) {
    move(block.expand);
    move(block.depthwise);
    move(block.project);
  }
}

}  // namespace resflow::rewards
