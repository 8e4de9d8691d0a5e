// What training for FLUX draws at random, so that the Python tests can train the same with PyTorch.
//   train_probe IN.safetensors OUT.safetensors
// IN's metadata: "options", the training's as JSON; "count", how many batches. OUT: tensors of batch i under "i.", what training starts from under
// "start."; the validation's noise of three samples, "validation.ROW.DRAW".
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "resflow/train/flux_validation.h"
#include "resflow/weights/safetensors.h"

using namespace resflow;

int main(int argc, char** argv) {
  try {
    const auto in = weights::TensorFile::open(argv[1]);
    train::TrainOptions options;
    fields_from_json(options, Json::parse(in.metadata().at("options")));
    const train::LatentShards shards(options.data, options.fusion.condition);
    train::FluxObjective objective(options, c10::Device(c10::kCPU));
    objective.initialise();
    std::vector<std::pair<std::string, Tensor>> out;
    for (int64_t i = 0; i < std::stoll(in.metadata().at("count")); ++i) {
      const auto batch = objective.batch(shards, i);
      const auto add = [&](const char* name, const Tensor& tensor) { out.emplace_back(fmt::format("{}.{}", i, name), tensor); };
      add("clean", batch.latents.clean);
      add("condition", batch.latents.condition);
      add("t5", batch.latents.text);
      add("pooled", batch.latents.pooled);
      add("noise", batch.noise);
      add("t", batch.t);
    }
    const Tensor one = objective.batch(shards, 0).latents.clean.narrow(0, 0, 1);
    for (int64_t row = 0; row < 3; ++row)
      for (int64_t draw = 0; draw < 6; ++draw)
        out.emplace_back(fmt::format("validation.{}.{}", row, draw), train::validation_noise(row, draw, one.sizes()));
    for (const auto& tensor : objective.module().named_parameters()) out.emplace_back("start." + tensor.name, *tensor.slot);
    weights::write_safetensors(argv[2], out);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
