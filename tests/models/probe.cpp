// Runs layers on tensors of a file, so that the Python tests can compare them with another implementation.
//   models_probe OPERATION IN.safetensors OUT.safetensors
// Numbers stand in IN's metadata, so does a configuration; a block's weights under "block.", a model's under "model.". OUT's tensors are named in
// the code below.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "esrgan_operations.h"
#include "file_operations.h"
#include "fusion_operations.h"
#include "lora_operations.h"
#include "resflow/core/config_file.h"
#include "resflow/models/blocks.h"
#include "resflow/models/flux/transformer.h"
#include "resflow/models/tokens.h"
#include "resflow/nn/timestep.h"
#include "resflow/weights/load.h"
#include "resflow/weights/safetensors.h"

using namespace resflow;
using probe::flux_input;
using probe::number;
using probe::Outputs;
using weights::TensorFile;

namespace {

nn::Rope rope_of(const TensorFile& in, const char* ids) {
  return nn::make_rope(in.get(ids), {number(in, "axis0"), number(in, "axis1"), number(in, "axis2")});
}

struct BlockRoot : nn::Module {
  explicit BlockRoot(const TensorFile& in)
      : block(*this, "block",
              {.width = number(in, "width"),
               .heads = number(in, "heads"),
               .mlp_ratio = 4,
               .condition_rank = number(in, "rank"),
               .text = in.contains("text")}) {
    weights::bind(*this, in);
    for (const auto& tensor : named_parameters()) TORCH_CHECK(tensor.slot->defined(), tensor.name, " is not in the file");
  }
  models::DoubleStreamBlock block;
};

Outputs timestep(const TensorFile& in) { return {{"out", nn::timestep_embedding(in.get("values"), number(in, "width"))}}; }

Outputs timestep_network(const TensorFile& in) {
  struct Root : nn::Module {
    explicit Root(const TensorFile& in) : embedder(*this, "embedder", number(in, "in"), number(in, "width")) { weights::bind(*this, in); }
    nn::TimestepEmbedder embedder;
  } root(in);
  return {{"out", root.embedder.forward(in.get("values"))}};
}

Outputs rope(const TensorFile& in) {
  const auto tables = rope_of(in, "ids");
  return {{"cos", tables.cos}, {"sin", tables.sin}, {"out", nn::apply_rope(in.get("x"), tables)}};
}

Outputs rms_norm(const TensorFile& in) {
  struct Root : nn::Module {
    explicit Root(const TensorFile& in) : norm(*this, "norm", in.shape("x").back()) { norm.weight = in.get("weight"); }
    nn::RmsNorm norm;
  } root(in);
  return {{"out", root.norm.forward(in.get("x"))}};
}

Outputs pack(const TensorFile& in) {
  const Tensor map = in.get("map");
  const int64_t patch = number(in, "patch");
  const Tensor tokens = models::patchify(map, patch);
  return {{"tokens", tokens},
          {"map", models::unpatchify(in.get("tokens"), patch, map.size(2) / patch, map.size(3) / patch)},
          {"ids", models::image_ids(map.size(2) / patch, map.size(3) / patch)}};
}

Outputs block(const TensorFile& in) {
  const BlockRoot root(in);
  models::KeyValue condition;
  Outputs out;
  if (in.contains("condition"))
    out.emplace_back("condition", root.block.forward_condition(in.get("condition"), in.get("temb"), rope_of(in, "ids"), {}, condition));
  if (in.contains("text")) {
    models::KeyValue text;
    out.emplace_back("text", root.block.forward_text(in.get("text"), in.get("temb"), rope_of(in, "text_ids"), text));
    condition = {at::cat({condition.key, text.key}, 2), at::cat({condition.value, text.value}, 2)};
  }
  out.emplace_back("out", root.block.forward(in.get("x"), in.get("temb"), rope_of(in, "ids"), condition, {}));
  return out;
}

models::FluxConfig flux_config(const TensorFile& in) { return probe::config_of<models::FluxConfig>(in, "config"); }

Outputs flux(const TensorFile& in) {
  models::FluxTransformer model(flux_config(in));
  weights::load_strict(model, in, "model.");
  return {{"out", model.forward(flux_input(in))}};
}

// What it takes to make the model and to bind it to a file.
Outputs flux_bind(const TensorFile& in) {
  const auto peak = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) * 1024;
  };
  const auto config = flux_config(in);
  const double before = peak();
  const auto start = std::chrono::steady_clock::now();
  models::FluxTransformer model(config);
  weights::load_strict(model, in, "model.");
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  return {{"seconds", at::scalar_tensor(taken.count(), at::kDouble)},
          {"bytes", at::scalar_tensor(peak() - before, at::kDouble)},
          {"tensors", at::scalar_tensor(static_cast<int64_t>(model.named_parameters().size()), at::kLong)},
          {"parameters", at::scalar_tensor(model.parameter_count(), at::kLong)}};
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, Outputs (*)(const TensorFile&)> operations = {{"timestep", timestep},
                                                                            {"timestep_network", timestep_network},
                                                                            {"rope", rope},
                                                                            {"rms_norm", rms_norm},
                                                                            {"pack", pack},
                                                                            {"block", block},
                                                                            {"flux", flux},
                                                                            {"flux_bind", flux_bind},
                                                                            {"flux_file", probe::flux_file},
                                                                            {"flux_names", probe::flux_names},
                                                                            {"flux_file_config", probe::flux_file_config},
                                                                            {"fusion", probe::fusion},
                                                                            {"lora", probe::lora},
                                                                            {"control_net", probe::control_net},
                                                                            {"fusion_count", probe::fusion_count},
                                                                            {"esrgan", probe::esrgan}};
  try {
    const std::vector<std::string> args(argv + 1, argv + argc);
    weights::write_safetensors(args.at(2), operations.at(args.at(0))(TensorFile::open(args.at(1))));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
