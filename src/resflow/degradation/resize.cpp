#include "resflow/degradation/resize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace resflow::degradation {
namespace {

// Output i = sum over j < count of weight[i * count + j] * input[start[i] + j]; all indices lie inside.
struct Taps {
  int64_t count = 0;
  std::vector<int64_t> start;
  std::vector<float> weight;

  Taps(int64_t in, int64_t out, int64_t wanted)
      : count(std::min(in, wanted)), start(static_cast<size_t>(out)), weight(static_cast<size_t>(out * count)) {}
  // Outside indices fall on the border pixel. `first` is that of the leftmost of the taps to come.
  void begin(int64_t i, int64_t first, int64_t in) { start[static_cast<size_t>(i)] = std::clamp<int64_t>(first, 0, in - count); }
  void add(int64_t i, int64_t index, int64_t in, double w) {
    index = std::clamp<int64_t>(index, 0, in - 1);
    weight[static_cast<size_t>(i * count + index - start[static_cast<size_t>(i)])] += static_cast<float>(w);
  }
};

// Keys' cubic with a = -0.75, at distances 1 + t, t, 1 - t, 2 - t.
std::array<double, 4> cubic_weights(double t) {
  constexpr double a = -.75;
  const auto near = [](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
  const auto far = [](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  return {far(1 + t), near(t), near(1 - t), far(2 - t)};
}

Taps taps_for(int64_t in, int64_t out, Interpolation mode, double factor) {
  if (mode == Interpolation::area) {  // the mean of every pixel that the output pixel's span touches
    Taps taps(in, out, (in + out - 1) / out + 1);
    for (int64_t i = 0; i < out; ++i) {
      const int64_t from = i * in / out, to = ((i + 1) * in + out - 1) / out;
      taps.begin(i, from, in);
      for (int64_t j = from; j < to; ++j) taps.add(i, j, in, 1.0 / static_cast<double>(to - from));
    }
    return taps;
  }
  const double step = factor > 0 ? 1 / factor : static_cast<double>(in) / static_cast<double>(out);
  const bool cubic = mode == Interpolation::bicubic;
  Taps taps(in, out, cubic ? 4 : 2);
  for (int64_t i = 0; i < out; ++i) {
    double at = step * (static_cast<double>(i) + .5) - .5;
    if (!cubic) at = std::max(at, 0.0);
    const auto left = static_cast<int64_t>(std::floor(at));
    const double t = at - static_cast<double>(left);
    if (cubic) {
      const auto w = cubic_weights(t);
      taps.begin(i, left - 1, in);
      for (int64_t j = 0; j < 4; ++j) taps.add(i, left - 1 + j, in, w[static_cast<size_t>(j)]);
    } else {
      taps.begin(i, left, in);
      taps.add(i, left, in, 1 - t);
      taps.add(i, left + 1, in, t);
    }
  }
  return taps;
}

template <int64_t kCount>
void gather_row(const float* in, const Taps& taps, int64_t width, float* out) {
  const int64_t count = kCount > 0 ? kCount : taps.count;
  const float* weight = taps.weight.data();
  for (int64_t x = 0; x < width; ++x, weight += count) {
    const float* p = in + taps.start[static_cast<size_t>(x)];
    float sum = 0;
    for (int64_t j = 0; j < count; ++j) sum += weight[j] * p[j];
    out[x] = sum;
  }
}

}  // namespace

Planes resize(const Planes& image, int64_t height, int64_t width, Interpolation mode, double factor) {
  const Taps down = taps_for(image.height(), height, mode, factor), across = taps_for(image.width(), width, mode, factor);
  Planes out(height, width);
  const auto line = std::make_unique<float[]>(static_cast<size_t>(image.stride()));
  for (int64_t channel = 0; channel < 3; ++channel)
    for (int64_t y = 0; y < height; ++y) {
      const float* weight = down.weight.data() + y * down.count;
      const float* source = image.row(channel, down.start[static_cast<size_t>(y)]);
      for (int64_t x = 0; x < image.stride(); x += 4) {
        Lanes sum{};
        for (int64_t j = 0; j < down.count; ++j) sum += all(weight[j]) * load(source + j * image.stride() + x);
        store(line.get() + x, sum);
      }
      float* to = out.row(channel, y);
      if (across.count == 2) {
        gather_row<2>(line.get(), across, width, to);
      } else if (across.count == 4) {
        gather_row<4>(line.get(), across, width, to);
      } else {
        gather_row<0>(line.get(), across, width, to);
      }
    }
  return out;
}

}  // namespace resflow::degradation
