#include "resflow/models/esrgan/ncnn_names.h"

#include <fmt/format.h>

#include <cmath>

#include "resflow/core/error.h"
#include "resflow/weights/view.h"

namespace resflow::models {
namespace {

using weights::NcnnLayer;

constexpr double kLeakyRelu = 2, kSlope = 0.2;
constexpr int kActivation = 9, kActivationSettings = 10, kSumWeights = 1;  // numbers of settings

bool near(double a, double b) { return std::abs(a - b) < 1e-4; }

// Goes along the layers that compute something, and notes which tensors they have under which names.
class Walk {
 public:
  explicit Walk(const weights::NcnnModel& model) : model_(model) {
    for (const auto& layer : model.layers)
      if (layer.type != "Input" && layer.type != "Split") layers_.push_back(&layer);
  }

  [[noreturn]] void fail(const std::string& wanted) const {
    const bool ended = at_ >= layers_.size();
    throw_user_error({.where = "real-esrgan",
                      .problem = model_.tensors.path().string() + ": the layers are not those of a Real-ESRGAN network",
                      .wanted = wanted,
                      .got = ended ? "the end" : fmt::format("{} '{}'", layers_[at_]->type, layers_[at_]->name),
                      .hint = "RRDBNet (x4) and SRVGGNetCompact are read"});
  }
  bool ended() const { return at_ == layers_.size(); }
  bool at(const char* type) const { return !ended() && layers_[at_]->type == type; }
  const NcnnLayer& take(const char* type) {
    if (!at(type)) fail(type);
    return *layers_[at_++];
  }
  // What the layer after so many others is.
  bool ahead(size_t distance, const char* type) const { return at_ + distance < layers_.size() && layers_[at_ + distance]->type == type; }

  void convolution(const std::string& name, bool activated) {
    const auto& layer = take("Convolution");
    const auto slope = layer.settings.find(kActivationSettings);
    const bool leaky = layer.setting(kActivation, 0) == kLeakyRelu && slope != layer.settings.end() && near(slope->second.front(), kSlope);
    const bool plain = layer.setting(kActivation, 0) == 0;
    if (activated ? !leaky : !plain) {
      --at_;
      fail(activated ? "a convolution with a leaky ReLU of slope 0.2" : "a convolution without an activation");
    }
    if (layer.setting(2, 1) != 1 || layer.setting(3, 1) != 1 || layer.setting(4, 0) != 1 || layer.setting(5, 0) == 0) {
      --at_;
      fail("a convolution of stride 1 with a border of 1 and a bias");
    }
    note(layer, "weight", name);
    note(layer, "bias", name);
  }
  void prelu(const std::string& name) { note(take("PReLU"), "weight", name); }
  void concat(size_t parts) {
    if (take("Concat").inputs.size() == parts) return;
    --at_;
    fail(fmt::format("a concatenation of {}", parts));
  }
  // 0.2 times what was made, plus what went in.
  void residual() {
    const auto& layer = take("Eltwise");
    const auto weights = layer.settings.find(kSumWeights);
    if (layer.setting(0, 0) == 1 && weights != layer.settings.end() && weights->second.size() == 2 && near(weights->second[0], kSlope) &&
        near(weights->second[1], 1))
      return;
    --at_;
    fail("a sum with weights 0.2 and 1");
  }
  void sum() {
    if (take("BinaryOp").setting(0, 0) == 0) return;
    --at_;
    fail("a sum");
  }
  void enlarge(double factor) {
    const auto& layer = take("Interp");
    if (layer.setting(0, 0) == 1 && near(layer.setting(1, 1), factor) && near(layer.setting(2, 1), factor)) return;
    --at_;
    fail(fmt::format("an enlargement to {:g} times by the nearest neighbour", factor));
  }

  weights::TensorFile view() const { return weights::view_of(model_.tensors, names_); }

 private:
  void note(const NcnnLayer& layer, const char* kind, const std::string& name) {
    names_.push_back({.name = fmt::format("{}.{}", name, kind), .rows = {{.name = fmt::format("{}.{}", layer.name, kind)}}});
  }

  const weights::NcnnModel& model_;
  std::vector<const NcnnLayer*> layers_;
  std::vector<weights::ViewTensor> names_;
  size_t at_ = 0;
};

void walk_rrdb(Walk& walk) {
  walk.convolution("conv_first", false);
  for (int block = 0; walk.ahead(1, "Concat"); ++block) {
    for (int dense = 1; dense <= 3; ++dense) {
      for (size_t conv = 1; conv <= 5; ++conv) {
        if (conv > 1) walk.concat(conv);
        walk.convolution(fmt::format("body.{}.rdb{}.conv{}", block, dense, conv), conv < 5);
      }
      walk.residual();
    }
    walk.residual();
  }
  walk.convolution("conv_body", false);
  walk.sum();
  for (const char* step : {"conv_up1", "conv_up2"}) {
    walk.enlarge(2);
    walk.convolution(step, true);
  }
  walk.convolution("conv_hr", true);
  walk.convolution("conv_last", false);
}

void walk_srvgg(Walk& walk) {
  int place = 0;
  for (; walk.ahead(1, "PReLU"); place += 2) {
    walk.convolution(fmt::format("body.{}", place), false);
    walk.prelu(fmt::format("body.{}", place + 1));
  }
  walk.convolution(fmt::format("body.{}", place), false);
  const double scale = walk.take("PixelShuffle").setting(0, 1);
  walk.enlarge(scale);
  walk.sum();
  if (walk.at("Interp")) walk.take("Interp");
}

}  // namespace

weights::TensorFile basicsr_of(const weights::NcnnModel& model) {
  Walk walk(model);
  if (walk.ahead(1, "PReLU"))
    walk_srvgg(walk);
  else
    walk_rrdb(walk);
  if (!walk.ended()) walk.fail("the end");
  return walk.view();
}

}  // namespace resflow::models
