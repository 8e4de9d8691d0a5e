#include "resflow/rewards/conv_trunk.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "resflow/core/error.h"

namespace resflow::rewards {
namespace {

// How the layers of `features` are called elsewhere.
constexpr std::array<const char*, 11> kPrefixes = {"features.", "net.slice1.", "net.slice2.", "net.slice3.", "net.slice4.", "net.slice5.",
                                                   "stage1.",   "stage2.",     "stage3.",     "stage4.",     "stage5."};

struct Planned {
  int64_t number, in, out, kernel, stride = 1, padding = 1;
  bool pooled = false, compared = false;
};

std::string prefix_of(const weights::TensorFile& file, int64_t number) {
  for (const auto* prefix : kPrefixes)
    if (auto name = fmt::format("{}{}.", prefix, number); file.contains(name + "weight")) return name;
  return "";
}

}  // namespace

struct ConvTrunk::Plan {
  const char* name;
  std::vector<Planned> layers;
  int64_t pool_size, smallest;
};

ConvTrunk ConvTrunk::alexnet(const weights::TensorFile& file) {
  static const Plan plan{.name = "AlexNet",
                         .layers = {{.number = 0, .in = 3, .out = 64, .kernel = 11, .stride = 4, .padding = 2, .compared = true},
                                    {.number = 3, .in = 64, .out = 192, .kernel = 5, .padding = 2, .pooled = true, .compared = true},
                                    {.number = 6, .in = 192, .out = 384, .kernel = 3, .pooled = true, .compared = true},
                                    {.number = 8, .in = 384, .out = 256, .kernel = 3, .compared = true},
                                    {.number = 10, .in = 256, .out = 256, .kernel = 3, .compared = true}},
                         .pool_size = 3,
                         .smallest = 31};
  return {file, plan};
}

ConvTrunk ConvTrunk::vgg16(const weights::TensorFile& file) {
  static const Plan plan{.name = "VGG16",
                         .layers = {{.number = 0, .in = 3, .out = 64, .kernel = 3},
                                    {.number = 2, .in = 64, .out = 64, .kernel = 3, .compared = true},
                                    {.number = 5, .in = 64, .out = 128, .kernel = 3, .pooled = true},
                                    {.number = 7, .in = 128, .out = 128, .kernel = 3, .compared = true},
                                    {.number = 10, .in = 128, .out = 256, .kernel = 3, .pooled = true},
                                    {.number = 12, .in = 256, .out = 256, .kernel = 3},
                                    {.number = 14, .in = 256, .out = 256, .kernel = 3, .compared = true},
                                    {.number = 17, .in = 256, .out = 512, .kernel = 3, .pooled = true},
                                    {.number = 19, .in = 512, .out = 512, .kernel = 3},
                                    {.number = 21, .in = 512, .out = 512, .kernel = 3, .compared = true},
                                    {.number = 24, .in = 512, .out = 512, .kernel = 3, .pooled = true},
                                    {.number = 26, .in = 512, .out = 512, .kernel = 3},
                                    {.number = 28, .in = 512, .out = 512, .kernel = 3, .compared = true}},
                         .pool_size = 2,
                         .smallest = 16};
  return {file, plan};
}

bool ConvTrunk::in(const weights::TensorFile& file) { return !prefix_of(file, 0).empty(); }

ConvTrunk::ConvTrunk(const weights::TensorFile& file, const Plan& plan) : pool_size_(plan.pool_size), smallest_(plan.smallest) {
  for (const auto& layer : plan.layers) {
    const auto name = prefix_of(file, layer.number);
    const auto wanted = at::IntArrayRef({layer.out, layer.in, layer.kernel, layer.kernel}).vec();
    if (name.empty() || file.shape(name + "weight") != wanted || file.shape(name + "bias") != std::vector<int64_t>{layer.out})
      throw_user_error({.where = file.path().string(),
                        .problem = fmt::format("not {}'s convolutions", plan.name),
                        .wanted = fmt::format("features.{}.weight [{}]", layer.number, fmt::join(wanted, ", ")),
                        .got = name.empty() ? "none" : fmt::format("{}weight [{}]", name, fmt::join(file.shape(name + "weight"), ", "))});
    layers_.push_back({.weight = file.get(name + "weight").to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast),
                       .bias = file.get(name + "bias").to(at::kFloat),
                       .stride = layer.stride,
                       .padding = layer.padding,
                       .pooled = layer.pooled,
                       .compared = layer.compared});
    if (layer.compared) widths_.push_back(layer.out);
  }
}

std::vector<Tensor> ConvTrunk::features(const Tensor& x, const Pool& pool) const {
  check_shape(x, "B 3 H W", "x");
  Tensor y = x.to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast);
  std::vector<Tensor> out;
  for (const auto& layer : layers_) {
    if (layer.pooled) y = pool ? pool(y) : at::max_pool2d(y, {pool_size_, pool_size_}, {2, 2});  // [B, C, h/2, w/2]
    y = at::conv2d(y, layer.weight, layer.bias, layer.stride, layer.padding).relu_();            // [B, out, h, w]
    if (layer.compared) out.push_back(y);
  }
  return out;
}

}  // namespace resflow::rewards
