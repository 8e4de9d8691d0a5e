// Runs rewards on raw float32 arrays, so that the Python tests can compare them with other implementations.
//   rewards_probe features WEIGHTS IMAGES B H W OUT      every tap's features after one another
//   rewards_probe distance WEIGHTS IMAGES IMAGES B H W   one number a line
//   rewards_probe reward NAME[,NAME...] IMAGES N H W [PROMPT]   one line a reward; then how often the shared CLIP L/14 was run
//   rewards_probe clip_input IMAGES N H W SIDE OUT              what CLIP's towers are shown
//   rewards_probe metric NAME PREDICTION REFERENCE|- H W LUMA(0|1) CROP_BORDER
//   rewards_probe set_features NAME IMAGES N H W OUT            what a metric of sets remembers of each
//   rewards_probe frechet FEATURES N FEATURES M WIDTH
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "resflow/core/data_path.h"
#include "resflow/rewards/clip_input.h"
#include "resflow/rewards/clip_vision.h"
#include "resflow/rewards/feature_distance.h"
#include "resflow/rewards/frechet.h"
#include "resflow/rewards/metric.h"
#include "resflow/rewards/panel.h"
#include "resflow/rewards/set_metric.h"

using resflow::Tensor;

namespace {

Tensor read_floats(const std::string& path, at::IntArrayRef shape) {
  auto values = at::empty(shape, at::kFloat);
  std::ifstream file(path, std::ios::binary);
  file.read(static_cast<char*>(values.data_ptr()), static_cast<std::streamsize>(values.nbytes()));
  TORCH_CHECK(file.gcount() == static_cast<std::streamsize>(values.nbytes()), path, ": too short");
  return values;
}

Tensor read_images(const std::string& path, int64_t batch, int64_t height, int64_t width) { return read_floats(path, {batch, 3, height, width}); }

void write_floats(const std::string& path, const Tensor& values) {
  const auto flat = values.contiguous();
  std::ofstream(path, std::ios::binary).write(static_cast<const char*>(flat.const_data_ptr()), static_cast<std::streamsize>(flat.nbytes()));
}

// --- rewards that read public weight files ---

int score_rewards(const std::vector<std::string>& args) {
  const auto images = read_images(args.at(2), std::stoll(args.at(3)), std::stoll(args.at(4)), std::stoll(args.at(5)));
  std::vector<std::string> names;
  std::istringstream words(args.at(1));
  for (std::string word; std::getline(words, word, ',');) names.push_back(word);
  const resflow::rewards::Panel panel(names, {}, {}, args.size() > 6 ? args[6] : "");
  std::shared_ptr<resflow::rewards::SharedClipVision> tower;
  if (args.at(1).starts_with("aesthetic")) tower = resflow::rewards::SharedClipVision::of(resflow::data_file("rewards/clip-vit-large-patch14"));
  for (const auto& judge : panel.judges({})) {
    const Tensor scores = judge.score(images);
    for (int64_t i = 0; i < scores.numel(); ++i) fmt::print("{:.12g} ", scores[i].item<double>());
    fmt::print("\n");
  }
  fmt::print("{}\n", tower ? tower->runs() : 0);
  return 0;
}

int show_clip_input(const std::vector<std::string>& args) {
  const auto images = read_images(args.at(1), std::stoll(args.at(2)), std::stoll(args.at(3)), std::stoll(args.at(4)));
  write_floats(args.at(6), resflow::rewards::clip_input(images, std::stoll(args.at(5))));
  return 0;
}

// --- metrics of sets ---

int show_set_features(const std::vector<std::string>& args) {
  const auto images = read_images(args.at(2), std::stoll(args.at(3)), std::stoll(args.at(4)), std::stoll(args.at(5)));
  const auto metric = resflow::rewards::set_metrics().make(args.at(1));
  std::vector<Tensor> rows;
  for (const auto& image : images.split(1)) rows.push_back(metric->features(image));
  write_floats(args.at(6), at::stack(rows));
  return 0;
}

int print_frechet(const std::vector<std::string>& args) {
  const auto width = std::stoll(args.at(5));
  const auto a = read_floats(args.at(1), {std::stoll(args.at(2)), width}), b = read_floats(args.at(3), {std::stoll(args.at(4)), width});
  fmt::print("{:.15g}\n", resflow::rewards::frechet_distance(a, b));
  return 0;
}

// ---------------------------------------------

int run(const std::vector<std::string>& args) {
  if (args.at(0) == "reward") return score_rewards(args);
  if (args.at(0) == "clip_input") return show_clip_input(args);
  if (args.at(0) == "set_features") return show_set_features(args);
  if (args.at(0) == "frechet") return print_frechet(args);
  const auto number = [&](size_t i) { return std::stoll(args.at(i)); };
  if (args.at(0) == "features") {
    std::ofstream out(args.at(6), std::ios::binary);
    for (const auto& feature :
         resflow::rewards::FeatureDistance::load(args.at(1)).features(read_images(args.at(2), number(3), number(4), number(5)))) {
      const auto flat = feature.contiguous();
      out.write(static_cast<const char*>(flat.const_data_ptr()), static_cast<std::streamsize>(flat.nbytes()));
    }
  } else if (args.at(0) == "distance") {
    const auto a = read_images(args.at(2), number(4), number(5), number(6)), b = read_images(args.at(3), number(4), number(5), number(6));
    const auto distances = resflow::rewards::FeatureDistance::load(args.at(1)).distance(a, b);
    for (int64_t i = 0; i < distances.numel(); ++i) fmt::print("{:.9g}\n", distances[i].item<float>());
  } else {
    const auto read = [&](const std::string& path) { return path == "-" ? Tensor() : read_images(path, 1, number(4), number(5)); };
    const auto metric = resflow::rewards::metrics().make(args.at(1));
    fmt::print("{:.12g}\n", metric->score(read(args.at(2)), read(args.at(3)), {.luma = number(6) != 0, .crop_border = static_cast<int>(number(7))}));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
