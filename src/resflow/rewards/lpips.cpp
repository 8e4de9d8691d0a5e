// Learned perceptual image patch similarity, Zhang et al. 2018 (arXiv 1801.03924), version 0.1: features of a classification network
// with unit length over the channels, squared differences weighted by channel, means over positions, summed over five depths.
// R, G and B of the whole picture, -1..1, at its own size.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "resflow/rewards/channels.h"
#include "resflow/rewards/conv_trunk.h"
#include "resflow/rewards/public_file.h"

namespace resflow::rewards {
namespace {

// ImageNet's mean and deviation on the scale of -1..1, as the authors rounded them.
constexpr std::array<float, 3> kShift = {-0.030F, -0.088F, -0.188F}, kScale = {0.458F, 0.448F, 0.450F};
constexpr double kSmallestNorm = 1e-10;

using MakeTrunk = ConvTrunk (*)(const weights::TensorFile&);

class Lpips final : public Metric {
 public:
  Lpips(std::string name, ConvTrunk trunk, const weights::TensorFile& heads) : name_(std::move(name)), trunk_(std::move(trunk)) {
    for (size_t i = 0; i < trunk_.widths().size(); ++i) {
      const auto tensor = fmt::format("lin{}.model.1.weight", i);
      const std::vector<int64_t> wanted = {1, trunk_.widths()[i], 1, 1};
      if (!heads.contains(tensor) || heads.shape(tensor) != wanted)
        throw_user_error({.where = heads.path().string(),
                          .problem = "not the channel weights of " + name_,
                          .wanted = fmt::format("{} [{}]", tensor, fmt::join(wanted, ", ")),
                          .got = heads.contains(tensor) ? fmt::format("[{}]", fmt::join(heads.shape(tensor), ", ")) : "none"});
      heads_.push_back(heads.get(tensor).to(at::kDouble).flatten());
    }
  }

  double score(const Tensor& prediction, const Tensor& reference, const MetricOptions&) const override {
    check_shape(prediction, "1 3 H W", "prediction");
    TORCH_CHECK(prediction.sizes() == reference.sizes(), "prediction ", prediction.sizes(), " and reference ", reference.sizes(), " differ in size");
    if (std::min(prediction.size(2), prediction.size(3)) < trunk_.smallest())
      throw_user_error({.where = name_,
                        .problem = "picture too small",
                        .wanted = fmt::format("at least {0}x{0} pixels", trunk_.smallest()),
                        .got = fmt::format("{}x{}", prediction.size(3), prediction.size(2))});
    const auto a = features(prediction), b = features(reference);
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const auto difference = (a[i] - b[i]).square_().mean(at::IntArrayRef{0, 2, 3});  // [C]
      sum += difference.to(at::kDouble).dot(heads_[i]).item<double>();
    }
    return sum;
  }
  bool needs_reference() const override { return true; }
  bool higher_is_better() const override { return false; }

 private:
  // Of unit length over the channels. image [1, 3, H, W], 0..1 -> five of [1, C, h, w]
  std::vector<Tensor> features(const Tensor& image) const {
    const Tensor x = 2 * image.to(at::kCPU, at::kFloat) - 1;
    auto out = trunk_.features((x - per_channel(kShift)) / per_channel(kScale));
    for (auto& map : out) map = map / (at::linalg_vector_norm(map, 2, at::IntArrayRef{1}, true) + kSmallestNorm);
    return out;
  }

  std::string name_;
  ConvTrunk trunk_;
  std::vector<Tensor> heads_;  // double [C] a map
};

// The weights of the channels; a file saved from the whole lpips module holds its trunk too.
std::unique_ptr<Metric> load(const std::string& name, const std::string& head, const PublicFile& trunk, MakeTrunk make) {
  const auto heads =
      weights::TensorFile::open(find_public_file({.name = "lpips-v0.1/" + head,
                                                  .origin = "https://github.com/richzhang/PerceptualSimilarity (lpips/weights/v0.1/" + head + ")",
                                                  .licence = "BSD-2-Clause"}));
  return std::make_unique<Lpips>(name, make(ConvTrunk::in(heads) ? heads : weights::TensorFile::open(find_public_file(trunk))), heads);
}

}  // namespace

Entry<Metric> metric_lpips() {
  return {"lpips", "LPIPS 0.1 on AlexNet, 0 = same (lower is better)", [] { return load("lpips", "alex.pth", alexnet_file(), ConvTrunk::alexnet); }};
}

Entry<Metric> metric_lpips_vgg() {
  return {"lpips-vgg", "LPIPS 0.1 on VGG16 (lower is better)", [] { return load("lpips-vgg", "vgg.pth", vgg16_file(), ConvTrunk::vgg16); }};
}

}  // namespace resflow::rewards
