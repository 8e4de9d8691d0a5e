#include "resflow/degradation/noise.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <mutex>
#include <numbers>
#include <vector>

namespace resflow::degradation {
namespace {

// The four words of pixels 4 * group .. 4 * group + 3 of a row: every pixel has its own, so order and threads do not matter.
std::array<uint32_t, 4> row_words(const Stream& stream, int64_t channel, int64_t y, int64_t group) {
  return stream.words(static_cast<uint64_t>(group), static_cast<uint64_t>(channel) << 40 | static_cast<uint64_t>(y));
}

void two_normals(uint32_t a, uint32_t b, float* out) {
  const float radius = std::sqrt(-2 * std::log((static_cast<float>(a) + 1) * 0x1p-32f));
  const float angle = 2 * std::numbers::pi_v<float> * (static_cast<float>(b) * 0x1p-32f);
  out[0] = radius * std::cos(angle);
  out[1] = radius * std::sin(angle);
}

// Poisson counts of 256 means by inversion: a draw is the number of thresholds at or below a uniform word.
class PoissonTable {
 public:
  explicit PoissonTable(double photons_at_white) {
    for (size_t level = 0; level < 256; ++level) lines_[level] = make_line(photons_at_white * static_cast<double>(level) / 255);
  }
  int draw(int level, uint32_t word) const {
    const Line& line = lines_[static_cast<size_t>(level)];
    size_t i = line.guide[word >> 24];
    while (i < line.thresholds.size() && line.thresholds[i] <= word) ++i;
    return line.first + static_cast<int>(i);
  }

 private:
  struct Line {
    int first = 0;                      // the least count with any probability
    std::vector<uint32_t> thresholds;   // P(count <= first + i) * 2^32
    std::array<uint16_t, 256> guide{};  // where to begin the search, by the word's leading byte
  };
  static Line make_line(double mean) {
    Line line;
    const double spread = 9 * std::sqrt(mean) + 12;  // beyond: less than 2^-33
    line.first = static_cast<int>(std::max(0.0, std::floor(mean - spread)));
    const int last = static_cast<int>(std::ceil(mean + spread));
    double cumulated = 0;
    for (int n = line.first; n <= last && mean > 0; ++n) {
      cumulated += std::exp(n * std::log(mean) - mean - std::lgamma(n + 1.0));
      if (cumulated * 0x1p32 >= 0x1p32 - 1) break;
      line.thresholds.push_back(static_cast<uint32_t>(cumulated * 0x1p32));
    }
    for (size_t byte = 0; byte < 256; ++byte) {
      const auto word = static_cast<uint32_t>(byte << 24);
      line.guide[byte] = static_cast<uint16_t>(std::upper_bound(line.thresholds.begin(), line.thresholds.end(), word) - line.thresholds.begin());
    }
    return line;
  }
  std::array<Line, 256> lines_;
};

// The table of 2^exponent photons at white, made at its first use.
const PoissonTable& poisson_table(int exponent) {
  static std::array<std::unique_ptr<PoissonTable>, 9> tables;
  static std::array<std::once_flag, 9> made;
  const auto i = static_cast<size_t>(exponent);
  std::call_once(made[i], [&] { tables[i] = std::make_unique<PoissonTable>(std::ldexp(1.0, exponent)); });
  return *tables[i];
}

int level_of(float value) { return static_cast<int>(std::nearbyint(std::clamp(value, 0.f, 1.f) * 255)); }

float clamp01(float v) { return std::clamp(v, 0.f, 1.f); }

}  // namespace

void add_gaussian_noise(Planes& image, double sigma, bool grey, const Stream& stream) {
  const auto amount = static_cast<float>(sigma / 255);
  std::vector<float> line(static_cast<size_t>(image.stride()));
  for (int64_t channel = 0; channel < (grey ? 1 : 3); ++channel)
    for (int64_t y = 0; y < image.height(); ++y) {
      for (int64_t x = 0; x < image.width(); x += 4) {
        const auto w = row_words(stream, channel, y, x / 4);
        two_normals(w[0], w[1], &line[static_cast<size_t>(x)]);
        two_normals(w[2], w[3], &line[static_cast<size_t>(x) + 2]);
      }
      for (int64_t c = channel; c < (grey ? 3 : channel + 1); ++c) {
        float* to = image.row(c, y);
        for (int64_t x = 0; x < image.stride(); x += 4) store(to + x, clamp(load(to + x) + all(amount) * load(&line[static_cast<size_t>(x)]), 0, 1));
      }
    }
}

void add_poisson_noise(Planes& image, double scale, bool grey, const Stream& stream) {
  const auto amount = static_cast<float>(scale);
  const auto level_at = [&](int64_t channel, int64_t y, int64_t x) {
    if (!grey) return level_of(image.row(channel, y)[x]);
    return level_of(.2989f * image.row(0, y)[x] + .587f * image.row(1, y)[x] + .114f * image.row(2, y)[x]);
  };
  std::array<bool, 256> seen{};
  for (int64_t channel = 0; channel < (grey ? 1 : 3); ++channel)
    for (int64_t y = 0; y < image.height(); ++y)
      for (int64_t x = 0; x < image.width(); ++x) seen[static_cast<size_t>(level_at(channel, y, x))] = true;
  const int exponent = std::bit_width(static_cast<unsigned>(std::count(seen.begin(), seen.end(), true)) - 1);
  const PoissonTable& table = poisson_table(exponent);
  const float per_photon = std::ldexp(1.f, -exponent);
  for (int64_t channel = 0; channel < (grey ? 1 : 3); ++channel)
    for (int64_t y = 0; y < image.height(); ++y)
      for (int64_t x = 0; x < image.width(); x += 4) {
        const auto w = row_words(stream, channel, y, x / 4);
        for (int64_t at = x; at < std::min(x + 4, image.width()); ++at) {
          const int level = level_at(channel, y, at);
          const float noise = static_cast<float>(table.draw(level, w[static_cast<size_t>(at - x)])) * per_photon - static_cast<float>(level) / 255;
          for (int64_t c = channel; c < (grey ? 3 : channel + 1); ++c) {
            float& pixel = image.row(c, y)[at];
            pixel = clamp01(pixel + amount * noise);
          }
        }
      }
}

}  // namespace resflow::degradation
