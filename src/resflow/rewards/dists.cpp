// Deep image structure and texture similarity, Ding, Ma, Wang and Simoncelli 2020 (arXiv 2004.07728): means and covariances of VGG16's
// maps, whose max pools are replaced by a Hanning-weighted root mean square, and of the picture itself. R, G and B of the whole picture, 0..1,
// at its own size: the authors' example shrinks the shorter side to 256 px first, the field's tables do not.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "resflow/rewards/channels.h"
#include "resflow/rewards/conv_trunk.h"
#include "resflow/rewards/public_file.h"

namespace resflow::rewards {
namespace {

constexpr std::array<float, 3> kMean = {0.485F, 0.456F, 0.406F}, kDeviation = {0.229F, 0.224F, 0.225F};
constexpr double kC1 = 1e-6, kC2 = 1e-6;

// Root of the weighted mean of squares under a 3x3 Hanning window, every second pixel; zeros outside. [B, C, h, w] -> [B, C, h/2, w/2]
Tensor l2_pool(const Tensor& x) {
  const Tensor taps = at::tensor({0.25F, 0.5F, 0.25F}, at::kFloat);
  const Tensor window = at::outer(taps, taps).expand({x.size(1), 1, 3, 3});
  return (at::conv2d(x.square(), window, {}, 2, 1, 1, x.size(1)) + 1e-12).sqrt_();
}

struct Moments {
  Tensor mean, centred;  // [C, 1], [C, h w]
};
Moments moments(const Tensor& map) {
  const Tensor flat = map.squeeze(0).flatten(1);
  const Tensor mean = flat.mean(1, /*keepdim=*/true);
  return {mean, flat - mean};
}

class Dists final : public Metric {
 public:
  Dists(ConvTrunk trunk, const weights::TensorFile& file) : trunk_(std::move(trunk)) {
    int64_t channels = 3;
    for (const auto width : trunk_.widths()) channels += width;
    const auto read = [&](const char* name) {
      const std::vector<int64_t> wanted = {1, channels, 1, 1};
      if (!file.contains(name) || file.shape(name) != wanted)
        throw_user_error({.where = file.path().string(),
                          .problem = "not the channel weights of DISTS",
                          .wanted = fmt::format("{} [{}]", name, fmt::join(wanted, ", ")),
                          .got = file.contains(name) ? fmt::format("[{}]", fmt::join(file.shape(name), ", ")) : "none"});
      return file.get(name).to(at::kDouble).flatten();
    };
    const Tensor alpha = read("alpha"), beta = read("beta"), sum = alpha.sum() + beta.sum();
    alpha_ = alpha / sum;
    beta_ = beta / sum;
  }

  double score(const Tensor& prediction, const Tensor& reference, const MetricOptions&) const override {
    check_shape(prediction, "1 3 H W", "prediction");
    TORCH_CHECK(prediction.sizes() == reference.sizes(), "prediction ", prediction.sizes(), " and reference ", reference.sizes(), " differ in size");
    const auto a = maps(prediction), b = maps(reference);
    std::vector<Tensor> textures, structures;  // [C] a map
    for (size_t i = 0; i < a.size(); ++i) {
      const auto [mean_a, centred_a] = moments(a[i]);
      const auto [mean_b, centred_b] = moments(b[i]);
      textures.push_back(((2 * mean_a * mean_b + kC1) / (mean_a.square() + mean_b.square() + kC1)).squeeze(1));
      const Tensor variances = centred_a.square().mean(1) + centred_b.square().mean(1), covariance = (centred_a * centred_b).mean(1);
      structures.push_back((2 * covariance + kC2) / (variances + kC2));
    }
    const Tensor texture = at::cat(textures).to(at::kDouble), structure = at::cat(structures).to(at::kDouble);
    return 1 - (alpha_.dot(texture) + beta_.dot(structure)).item<double>();
  }
  bool needs_reference() const override { return true; }
  bool higher_is_better() const override { return false; }

 private:
  // The picture and five maps of it. image [1, 3, H, W], 0..1 -> six of [1, C, h, w]
  std::vector<Tensor> maps(const Tensor& image) const {
    const Tensor x = image.to(at::kCPU, at::kFloat);
    auto out = trunk_.features((x - per_channel(kMean)) / per_channel(kDeviation), l2_pool);
    out.insert(out.begin(), x);
    return out;
  }

  ConvTrunk trunk_;
  Tensor alpha_, beta_;  // double [C of all maps]: weights of the means and of the covariances, 1 in sum
};

// A file saved from the whole module holds its trunk too.
std::unique_ptr<Metric> load() {
  const auto file = weights::TensorFile::open(
      find_public_file({.name = "DISTS/weights.pt", .origin = "https://github.com/dingkeyan93/DISTS (DISTS_pytorch/weights.pt)", .licence = "MIT"}));
  return std::make_unique<Dists>(ConvTrunk::vgg16(ConvTrunk::in(file) ? file : weights::TensorFile::open(find_public_file(vgg16_file()))), file);
}

}  // namespace

Entry<Metric> metric_dists() { return {"dists", "Structure and texture similarity, 0 = same (lower is better)", load}; }

}  // namespace resflow::rewards
