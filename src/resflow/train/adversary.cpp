#include "resflow/train/adversary.h"

#include <ATen/ATen.h>

#include <cmath>

#include "resflow/nn/conv.h"

namespace resflow::train {
namespace {

constexpr int64_t kWidth = 64;                // of a head
constexpr int64_t kUnshuffle = 2;             // of the pixels
constexpr double kSlope = 0.2;                // of the leaky ReLU
constexpr double kGain = 1.3867504905630728;  // He's for that slope: sqrt(2 / (1 + 0.2^2))

// A convolution whose filters are of unit length, whatever the optimiser does: what an adversary can say of a small change stays bounded.
Tensor bounded(const nn::Conv2d& conv, const Tensor& x, bool frozen, int64_t stride = 1) {
  const Tensor weight = frozen ? conv.weight.detach() : conv.weight, bias = frozen ? conv.bias.detach() : conv.bias;
  const Tensor length = at::linalg_vector_norm(weight, 2, at::IntArrayRef{1, 2, 3}, /*keepdim=*/true);
  return at::conv2d(x, weight * (kGain / (length + 1e-8)), bias, stride, weight.size(2) / 2);
}

}  // namespace

class Adversary::Head : public nn::Module {
 public:
  // stride: of the second convolution.
  Head(Module& parent, const std::string& name, int64_t channels, int64_t kernel, int64_t stride)
      : Module(parent, name),
        conv1(*this, "conv1", channels, kWidth, kernel),
        conv2(*this, "conv2", kWidth, kWidth, 3),
        conv_out(*this, "conv_out", kWidth, 1, 3),
        stride_(stride) {}

  Tensor forward(const Tensor& x, bool frozen) const {  // [B, C, h, w] -> [B, places]
    Tensor h = at::leaky_relu(bounded(conv1, x, frozen), kSlope);
    h = at::leaky_relu(bounded(conv2, h, frozen, stride_), kSlope);
    return bounded(conv_out, h, frozen).flatten(1);
  }

  nn::Conv2d conv1, conv2, conv_out;

 private:
  int64_t stride_;
};

Adversary::Adversary(nn::Module& parent, const std::vector<int64_t>& channels) : Module(parent, kName) {
  for (size_t i = 0; i < channels.size(); ++i) taps_.push_back(std::make_unique<Head>(*this, "taps." + std::to_string(i), channels[i], 1, 1));
  pixels_ = std::make_unique<Head>(*this, "pixels", 3 * kUnshuffle * kUnshuffle, 3, 2);
}

Adversary::~Adversary() = default;

std::vector<Tensor> Adversary::scores(const Sight& sight, bool frozen) const {
  TORCH_CHECK(sight.features.size() == taps_.size(), "adversary: wanted features of ", taps_.size(), " taps, got ", sight.features.size());
  std::vector<Tensor> out;
  for (size_t i = 0; i < taps_.size(); ++i) {
    const Tensor& features = sight.features[i];
    out.push_back(taps_[i]->forward(features * std::sqrt(static_cast<double>(features.size(1))), frozen));  // unit variance
  }
  // Fine detail is small beside a picture's light and dark: seen against the local mean it is not.
  const Tensor fine = 10 * (sight.pixels - at::avg_pool2d(sight.pixels, {5, 5}, {1, 1}, {2, 2}, false, /*count_include_pad=*/false));
  const int64_t height = fine.size(2) / kUnshuffle * kUnshuffle, width = fine.size(3) / kUnshuffle * kUnshuffle;
  out.push_back(pixels_->forward(at::pixel_unshuffle(fine.narrow(2, 0, height).narrow(3, 0, width), kUnshuffle), frozen));
  return out;
}

Tensor Adversary::own_loss(const Sight& real, const Sight& made) const {
  // Both at once: half as many calls.
  Sight both{.features = {}, .pixels = at::cat({real.pixels, made.pixels.detach()})};
  for (size_t i = 0; i < real.features.size(); ++i) both.features.push_back(at::cat({real.features[i], made.features[i].detach()}));
  const int64_t count = real.pixels.size(0);
  Tensor sum;
  for (const Tensor& score : scores(both, false)) {
    const Tensor loss = at::relu(1 - score.narrow(0, 0, count)).mean(1) + at::relu(1 + score.narrow(0, count, count)).mean(1);
    sum = sum.defined() ? sum + loss : loss;
  }
  return sum / static_cast<double>(taps_.size() + 1);
}

Tensor Adversary::seen_through(const Sight& made) const {
  Tensor sum;
  for (const Tensor& score : scores(made, true)) {
    const Tensor each = -score.mean(1);
    sum = sum.defined() ? sum + each : each;
  }
  return sum / static_cast<double>(taps_.size() + 1);
}

}  // namespace resflow::train
