// Runs generation with noise that is given, so that the Python tests can compare it with another implementation.
//   generate_probe run MODEL IN.safetensors OUT.safetensors   IN: "noise" [n, C, h, w], "image", "reference", "control" and
//                                                             "mask" [3, H, W] where wanted; "prompt",
//                                                             "options" and "model" (JSON) in its metadata. OUT: "image.0" ... [3, H, W]
//   generate_probe load MODEL DTYPE                           binds the parts without using them; prints seconds and bytes of anonymous memory
//   generate_probe kontext-size WIDTH HEIGHT
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "resflow/core/device.h"
#include "resflow/generate/generator.h"
#include "resflow/generate/part_weights.h"
#include "resflow/text/t5_encoder.h"
#include "resflow/weights/safetensors.h"

using namespace resflow;
using weights::TensorFile;
using Arguments = std::vector<std::string>;

namespace {

void run(const Arguments& args) {
  const auto in = TensorFile::open(args.at(2));
  const auto tensor = [&](const char* name) { return in.contains(name) ? in.get(name) : Tensor(); };
  const Tensor noise = tensor("noise");
  generate::GenerateOptions options;
  fields_from_json(options, Json::parse(in.metadata().at("options")));
  generate::ModelOptions model;
  fields_from_json(model, Json::parse(in.metadata().at("model")));
  model.model = args.at(1);
  generate::Generator generator(model);
  std::vector<std::pair<std::string, Tensor>> out;
  generator.generate(
      {.prompt = in.metadata().at("prompt"),
       .image = tensor("image"),
       .reference = tensor("reference"),
       .control = tensor("control"),
       .mask = tensor("mask")},
      options, {}, [&](int64_t index, const generate::Generated& made) { out.emplace_back(fmt::format("image.{}", index), made.picture.pixels); },
      [&](int64_t index, at::IntArrayRef shape) {
        TORCH_CHECK(noise.slice(0, index, index + 1).sizes() == shape, "noise of another shape: ", noise.sizes(), " for ", shape);
        return noise.slice(0, index, index + 1);
      });
  weights::write_safetensors(args.at(3), out);
}

double anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:")) return 1024 * std::stod(line.substr(8));
  return -1;
}

void load(const Arguments& args) {
  const double before = anonymous_bytes();
  auto last = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(last, now)).count();
  };
  Json out;
  generate::Generator generator({.model = args.at(1), .device = "cpu", .dtype = args.at(2)});
  out["open"] = seconds();
  const auto file = TensorFile::open(generator.model().part("text_encoder_2"));
  const text::T5Encoder t5(file, "", generate::conversion_of(file, c10::kCPU, parse_dtype(args.at(2), c10::kCPU)));
  out["t5"] = seconds();
  generator.load_transformer();
  out["transformer"] = seconds();
  out["anonymous"] = anonymous_bytes() - before;
  fmt::print("{}\n", out.dump());
}

void kontext_size(const Arguments& args) {
  const auto size = generate::kontext_size({.width = std::stoll(args.at(1)), .height = std::stoll(args.at(2))});
  fmt::print("{} {}\n", size.width, size.height);
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, void (*)(const Arguments&)> commands = {{"run", run}, {"load", load}, {"kontext-size", kontext_size}};
  try {
    const Arguments args(argv + 1, argv + argc);
    commands.at(args.at(0))(args);
    return 0;
  } catch (const UserError& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 70;
  }
}
